//! Messages ready for a producer, in buffers that are used again.

use std::ops::Range;

/// Messages, one behind the other in one buffer.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    headers: Vec<(&'static str, Range<usize>)>,
}

#[derive(Debug)]
struct Span {
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null: a tombstone or a control message.
    pub value: Option<&'a [u8]>,
    all: &'a [u8],
    headers: &'a [(&'static str, Range<usize>)],
}

impl<'a> Message<'a> {
    /// The headers, in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'static str, &'a [u8])> + use<'a> {
        let all = self.all;
        self.headers.iter().map(move |(name, range)| (*name, all.get(range.clone()).unwrap_or_default()))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl Messages {
    /// Forgets the messages, keeps the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        self.headers.clear();
    }

    /// The messages, in the order in which they must be produced.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        let slice = |range: &Option<Range<usize>>| range.clone().and_then(|range| self.bytes.get(range));
        self.spans.iter().map(move |span| Message {
            key: slice(&span.key),
            value: slice(&span.value),
            all: &self.bytes,
            headers: self.headers.get(span.headers.clone()).unwrap_or_default(),
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of keys, values and headers' values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A mark to which [`Messages::rewind`] goes back.
    pub(crate) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), spans: self.spans.len(), headers: self.headers.len() }
    }

    /// Drops everything behind the mark: a message that failed half-way.
    pub(crate) fn rewind(&mut self, mark: &Mark) {
        self.bytes.truncate(mark.bytes);
        self.spans.truncate(mark.spans);
        self.headers.truncate(mark.headers);
    }

    /// Appends what `write` writes, and says where.
    pub(crate) fn part<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> (Range<usize>, T) {
        let start = self.bytes.len();
        let result = write(&mut self.bytes);
        (start..self.bytes.len(), result)
    }

    /// Appends a header to the message that [`Messages::finish`] will end.
    pub(crate) fn header(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        let (range, ()) = self.part(write);
        self.headers.push((name, range));
    }

    /// Repeats a header of the message before.
    pub(crate) fn repeat(&mut self, name: &'static str, range: Range<usize>) {
        self.headers.push((name, range));
    }

    /// The headers from a place on.
    pub(crate) fn headers_from(&self, from: usize) -> Vec<(&'static str, Range<usize>)> {
        self.headers.get(from..).unwrap_or_default().to_vec()
    }

    /// Ends a message, whose headers began at the mark.
    pub(crate) fn finish(&mut self, headers_from: usize, key: Option<Range<usize>>, value: Option<Range<usize>>) {
        self.spans.push(Span { key, value, headers: headers_from..self.headers.len() });
    }

    /// Where the next header will stand.
    pub(crate) fn headers_len(&self) -> usize {
        self.headers.len()
    }
}

/// A place in [`Messages`].
#[derive(Debug)]
pub(crate) struct Mark {
    bytes: usize,
    spans: usize,
    headers: usize,
}
