//! Logs whose changes may come.
//!
//! Order tokens of two logs do not compare, so the sink refuses a log that nobody let in. After a gap the capture goes on with
//! a new generation, or from another log, because its operator accepted that; the records of the capture say so, and what was
//! accepted there need not be accepted here again. A change may be read before the record that lets its log in: it waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use walbrook_model::{Error, Lineage, Result, Seq};

/// Generations by lineage.
type Generations = BTreeMap<String, BTreeSet<u16>>;

/// What the records of the capture let in.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    all: Arc<Generations>,
    /// The sink has not heard of it yet.
    news: bool,
    /// There are records to come.
    expected: bool,
}

impl Logs {
    /// None is known; whether records of a capture will tell.
    pub(crate) fn expected(expected: bool) -> Self {
        Self { expected, ..Self::default() }
    }

    /// Takes what a record lets in.
    pub(crate) fn let_in(&mut self, more: &Generations) {
        let known = |(lineage, generations): (&String, &BTreeSet<u16>)| {
            self.all.get(lineage).is_some_and(|known| known.is_superset(generations))
        };
        if more.iter().all(known) {
            return;
        }
        let all = Arc::make_mut(&mut self.all);
        for (lineage, generations) in more {
            all.entry(lineage.clone()).or_default().extend(generations);
        }
        self.news = true;
    }

    /// Whether a change may be handed over. Without a record, and without a lineage, nobody can say no; but what comes after a
    /// gap has the record that accepted it before it.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Transient`] if it may not: a record that has not been read yet may let it in.
    pub(crate) fn check(&self, lineage: Option<&Lineage>, seq: Seq) -> Result<()> {
        let Some(lineage) = lineage else { return Ok(()) };
        let generation = seq.generation();
        if self.all.is_empty() && (generation == 0 || !self.expected) {
            return Ok(());
        }
        if self.all.get(lineage.as_str()).is_some_and(|generations| generations.contains(&generation)) {
            return Ok(());
        }
        Err(Error::transient(format!(
            "no record of the capture lets in its log: lineage {lineage}, generation {generation}"
        ))
        .remedy("look whether two captures write the topic"))
    }

    /// What the sink has not heard of yet.
    pub(crate) fn tell(&mut self) -> Option<Arc<Generations>> {
        std::mem::take(&mut self.news).then(|| self.all.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_record_lets_in_waits() {
        let seq = |generation: u16| Seq::new(generation, 1, 1, 1).unwrap();
        let (ours, other) = (Lineage::new("ours"), Lineage::new("other"));
        let mut logs = Logs::default();
        logs.check(Some(&other), seq(3)).unwrap();
        assert!(logs.tell().is_none());
        let record = |generations: &[u16]| [("ours".to_owned(), generations.iter().copied().collect())].into();
        logs.let_in(&record(&[0]));
        assert_eq!(*logs.tell().unwrap(), record(&[0]));
        logs.check(Some(&ours), seq(0)).unwrap();
        logs.check(None, seq(7)).unwrap();
        assert!(logs.check(Some(&ours), seq(1)).is_err() && logs.check(Some(&other), seq(0)).is_err());
        logs.let_in(&record(&[0]));
        assert!(logs.tell().is_none());
        logs.let_in(&record(&[0, 1]));
        logs.check(Some(&ours), seq(1)).unwrap();
        assert!(logs.tell().is_some() && logs.tell().is_none());
    }

    #[test]
    fn what_comes_after_a_gap_waits_for_the_record_that_accepted_it() {
        let seq = |generation: u16| Seq::new(generation, 1, 1, 1).unwrap();
        let ours = Lineage::new("ours");
        let mut logs = Logs::expected(true);
        logs.check(Some(&ours), seq(0)).unwrap();
        assert!(logs.check(Some(&ours), seq(1)).is_err());
        logs.let_in(&[("ours".to_owned(), [0, 1].into())].into());
        logs.check(Some(&ours), seq(1)).unwrap();
    }
}
