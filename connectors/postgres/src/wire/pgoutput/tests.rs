use proptest::prelude::*;
use walbrook_model::{Cell, ErrorKind};

use super::super::EPOCH_OFFSET_US;
use super::*;

/// Builds a message the way the server writes it.
#[derive(Clone, Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn new(kind: u8) -> Self {
        Self(vec![kind])
    }
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn i32(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn i64(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn cstr(mut self, text: &str) -> Self {
        self.0.extend(text.as_bytes());
        self.u8(0)
    }
    fn tuple(mut self, kind: u8, cells: &[Cell<'_>]) -> Self {
        self = self.u8(kind).u16(cells.len().try_into().unwrap());
        for cell in cells {
            self = match cell {
                Cell::Null => self.u8(b'n'),
                Cell::Unchanged => self.u8(b'u'),
                Cell::Data(bytes) => {
                    let mut wire = self.u8(b't').u32(bytes.len().try_into().unwrap());
                    wire.0.extend(*bytes);
                    wire
                }
            };
        }
        self
    }
}

fn row(cells: &[Cell<'_>]) -> Row {
    let mut builder = RowBuilder::default();
    for cell in cells {
        builder.push(*cell);
    }
    builder.finish()
}

const NEW: &[Cell<'_>] = &[Cell::Data(b"1"), Cell::Null, Cell::Unchanged, Cell::Data(b"")];
const KEY: &[Cell<'_>] = &[Cell::Data(b"2"), Cell::Null, Cell::Null, Cell::Null];

/// One of each message, and what it decodes to.
fn samples() -> Vec<(Wire, Message)> {
    let old = |key_only| Old { key_only, row: row(KEY) };
    vec![
        (
            Wire::new(b'B').u64(0x16_B374_D848).i64(1_000_000).u32(731),
            Message::Begin { final_lsn: Lsn(0x16_B374_D848), committed_at_us: EPOCH_OFFSET_US + 1_000_000, xid: 731 },
        ),
        (
            Wire::new(b'C').u8(0).u64(10).u64(20).i64(-EPOCH_OFFSET_US),
            Message::Commit { commit_lsn: Lsn(10), end_lsn: Lsn(20), committed_at_us: 0 },
        ),
        (Wire::new(b'O').u64(99).cstr("elsewhere"), Message::Origin { commit_lsn: Lsn(99), name: "elsewhere".into() }),
        (
            Wire::new(b'R')
                .u32(16_384)
                .cstr("shop")
                .cstr("F 1")
                .u8(b'd')
                .u16(2)
                .u8(1)
                .cstr("id")
                .u32(23)
                .i32(-1)
                .u8(0)
                .cstr("naïve")
                .u32(1700)
                .i32(327_686),
            Message::Relation(Relation {
                oid: 16_384,
                namespace: "shop".into(),
                name: "F 1".into(),
                identity: ReplicaIdentity::Default,
                columns: vec![
                    RelationColumn { name: "id".into(), type_oid: 23, typmod: -1, key: true },
                    RelationColumn { name: "naïve".into(), type_oid: 1700, typmod: 327_686, key: false },
                ],
            }),
        ),
        (
            Wire::new(b'Y').u32(16_500).cstr("").cstr("mood"),
            Message::Type { oid: 16_500, namespace: "pg_catalog".into(), name: "mood".into() },
        ),
        (Wire::new(b'I').u32(7).tuple(b'N', NEW), Message::Insert { relation: 7, new: row(NEW) }),
        (Wire::new(b'U').u32(7).tuple(b'N', NEW), Message::Update { relation: 7, old: None, new: row(NEW) }),
        (
            Wire::new(b'U').u32(7).tuple(b'K', KEY).tuple(b'N', NEW),
            Message::Update { relation: 7, old: Some(old(true)), new: row(NEW) },
        ),
        (
            Wire::new(b'U').u32(7).tuple(b'O', KEY).tuple(b'N', NEW),
            Message::Update { relation: 7, old: Some(old(false)), new: row(NEW) },
        ),
        (Wire::new(b'D').u32(7).tuple(b'K', KEY), Message::Delete { relation: 7, old: old(true) }),
        (Wire::new(b'D').u32(7).tuple(b'O', KEY), Message::Delete { relation: 7, old: old(false) }),
        (Wire::new(b'I').u32(8).tuple(b'N', &[]), Message::Insert { relation: 8, new: row(&[]) }),
        (
            Wire::new(b'T').u32(2).u8(3).u32(7).u32(8),
            Message::Truncate { relations: vec![7, 8], cascade: true, restart_identity: true },
        ),
        (
            Wire::new(b'T').u32(1).u8(0).u32(7),
            Message::Truncate { relations: vec![7], cascade: false, restart_identity: false },
        ),
        (
            Wire::new(b'M').u8(1).u64(5).cstr("walbrook").u32(3).u8(0).u8(255).u8(1),
            Message::Message(LogicalMessage {
                transactional: true,
                lsn: Lsn(5),
                prefix: "walbrook".into(),
                content: Bytes::from_static(&[0, 255, 1]),
            }),
        ),
    ]
}

fn check_refused(wire: Wire) -> Error {
    decode(&wire.0.into()).expect_err("it was decoded")
}

#[test]
fn every_message_decodes_to_what_it_says() {
    for (wire, expected) in samples() {
        assert_eq!(decode(&wire.0.into()).unwrap(), expected);
    }
}

#[test]
fn a_message_cut_short_or_too_long_is_refused() {
    for (wire, message) in samples() {
        for len in 0..wire.0.len() {
            assert!(decode(&Bytes::copy_from_slice(&wire.0[..len])).is_err(), "{message:?} cut at {len}");
        }
        check_refused(wire.u8(0));
    }
}

#[test]
fn a_cell_is_a_place_in_the_message() {
    let message = Bytes::from(Wire::new(b'I').u32(7).tuple(b'N', &[Cell::Data(b"abc")]).0);
    let Message::Insert { new, .. } = decode(&message).unwrap() else { panic!("not an insert") };
    let Cell::Data(cell) = new.cell(0) else { panic!("no data") };
    assert_eq!(cell.as_ptr(), message[message.len() - 3..].as_ptr());
}

#[test]
fn what_is_not_of_this_protocol_is_an_error_with_a_cause() {
    let binary = Wire::new(b'I').u32(7).u8(b'N').u16(1).u8(b'b').u32(1).u8(0);
    let error = check_refused(binary);
    assert_eq!((error.kind(), error.message().contains("binary")), (ErrorKind::Bug, true));

    let unknown = check_refused(Wire::new(b'S').u32(1).u8(1));
    assert_eq!((unknown.kind(), unknown.message().contains("'S'")), (ErrorKind::Transient, true));

    check_refused(Wire::new(b'C').u8(1).u64(10).u64(20).i64(0));
    check_refused(Wire::new(b'I').u32(7).tuple(b'K', KEY));
    check_refused(Wire::new(b'U').u32(7).tuple(b'K', KEY).tuple(b'O', NEW));
    check_refused(Wire::new(b'D').u32(7).tuple(b'N', KEY));
    check_refused(Wire::new(b'I').u32(7).u8(b'N').u16(1).u8(b'x'));
    check_refused(Wire::new(b'I').u32(7).u8(b'N').u16(1).u8(b't').i32(-1));
    check_refused(Wire::new(b'R').u32(1).cstr("a").cstr("b").u8(b'x').u16(0));
    check_refused(Wire::new(b'T').i32(-1).u8(0));
}

#[test]
fn a_time_out_of_range_is_refused() {
    check_refused(Wire::new(b'B').u64(1).i64(i64::MAX).u32(1));
    decode(&Wire::new(b'B').u64(1).i64(i64::MIN).u32(1).0.into()).unwrap();
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(kind in prop::sample::select(b"BCIUDRYTMOx".to_vec()), mut bytes: Vec<u8>) {
        bytes.insert(0, kind);
        let _ = decode(&bytes.into());
    }

    #[test]
    fn no_change_of_a_message_makes_it_panic(sample in 0..15_usize, changes: Vec<(prop::sample::Index, u8)>,
                                             cut: prop::sample::Index) {
        let mut bytes = samples().swap_remove(sample).0.0;
        for (at, value) in changes.iter().take(4) {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(Message::Insert { new, .. }) = decode(&bytes.into()) {
            for index in 0..new.len() {
                let _ = new.cell(index);
            }
        }
    }

    #[test]
    fn any_row_comes_back(cells in prop::collection::vec((0..3_u8, prop::collection::vec(any::<u8>(), 0..20)), 0..20)) {
        let cells: Vec<Cell<'_>> = cells
            .iter()
            .map(|(kind, bytes)| match kind {
                0 => Cell::Null,
                1 => Cell::Unchanged,
                _ => Cell::Data(bytes),
            })
            .collect();
        let message = Bytes::from(Wire::new(b'I').u32(1).tuple(b'N', &cells).0);
        prop_assert_eq!(decode(&message).unwrap(), Message::Insert { relation: 1, new: row(&cells) });
    }
}
