//! Random commits, against a model that is two maps.

use std::collections::BTreeMap;

use proptest::prelude::*;
use roaring::RoaringBitmap;
use uuid::Uuid;
use walbrook_lake_merge::format::{Commit, Outcome, TableFormat, TableState};
use walbrook_lake_merge::layout::{LakeField, LakeType};

use super::oracle;
use super::support::{Warehouse, commit, data_file};
use crate::manifest::Entry;
use crate::table::Table;

#[derive(Clone, Debug)]
enum Step {
    /// Adds files, removes files, deletes rows; the numbers pick among what is there.
    Rows { add: Vec<u32>, remove: Vec<usize>, delete: Vec<(usize, u32)>, rewrite: bool },
    /// Sets a property.
    Property(u8),
    /// Adds a column, with a row or without.
    Column { with_rows: bool },
    /// Opens the table anew.
    Reopen,
    /// Another handle commits first.
    Race,
}

fn step() -> impl Strategy<Value = Step> {
    let pick = || any::<prop::sample::Index>().prop_map(|index| index.index(1 << 20));
    let rows = (
        prop::collection::vec(1..40u32, 0..4),
        prop::collection::vec(pick(), 0..3),
        prop::collection::vec((pick(), any::<u32>()), 0..12),
        any::<bool>(),
    );
    prop_oneof![
        8 => rows.prop_map(|(add, remove, delete, rewrite)| Step::Rows { add, remove, delete, rewrite }),
        1 => any::<u8>().prop_map(Step::Property),
        1 => any::<bool>().prop_map(|with_rows| Step::Column { with_rows }),
        2 => Just(Step::Reopen),
        1 => Just(Step::Race),
    ]
}

#[derive(Default)]
struct Model {
    /// Path to rows and deleted rows.
    files: BTreeMap<String, (u64, RoaringBitmap)>,
    properties: BTreeMap<String, String>,
    columns: usize,
}

impl Model {
    /// A commit that follows a step, and the model after it.
    fn plan(&mut self, table: &Table, step: &Step, number: u64) -> Commit {
        let mut commit = Commit { id: Uuid::new_v4(), ..Commit::default() };
        match step {
            Step::Rows { add, remove, delete, rewrite } => {
                commit.rewrite = *rewrite;
                self.rows(table, &mut commit, add, remove, delete, number);
            }
            Step::Property(value) => {
                commit.properties.insert("walbrook.test".to_owned(), value.to_string());
            }
            Step::Column { with_rows } => {
                let mut layout = table.state().layout.clone();
                layout.last_id += 1;
                layout.fields.push(LakeField {
                    id: layout.last_id,
                    name: format!("c{}", layout.last_id),
                    ty: LakeType::Int,
                    required: false,
                    initial_default: number.is_multiple_of(2).then(|| serde_json::json!(number)),
                });
                commit.layout = Some(layout);
                self.columns += 1;
                if *with_rows {
                    self.rows(table, &mut commit, &[3], &[], &[], number);
                }
            }
            Step::Reopen | Step::Race => {}
        }
        self.properties.extend(commit.properties.clone());
        self.properties.insert("walbrook.commit-id".to_owned(), commit.id.to_string());
        commit
    }

    fn rows(
        &mut self,
        table: &Table,
        commit: &mut Commit,
        add: &[u32],
        remove: &[usize],
        delete: &[(usize, u32)],
        number: u64,
    ) {
        for index in remove {
            if let Some(path) = self.pick(*index) {
                self.files.remove(&path);
                commit.removed.push(path);
            }
        }
        for (index, row) in delete {
            if let Some(path) = self.pick(*index) {
                let (rows, deleted) = self.files.get_mut(&path).unwrap();
                deleted.insert(row % u32::try_from(*rows).unwrap());
                commit.deleted.insert(path, deleted.clone());
            }
        }
        for rows in add {
            let file = data_file(table, *rows, number + 1);
            let mut deleted = RoaringBitmap::new();
            if rows % 5 == 0 {
                // Rows of a merged file may go at once.
                deleted.insert(rows / 2);
                commit.deleted.insert(file.path.clone(), deleted.clone());
            }
            self.files.insert(file.path.clone(), (file.rows, deleted));
            commit.added.push(file);
        }
    }

    fn pick(&self, index: usize) -> Option<String> {
        if self.files.is_empty() {
            return None;
        }
        self.files.keys().nth(index % self.files.len()).cloned()
    }

    fn check(&self, state: &TableState) {
        let files: BTreeMap<_, _> =
            state.files.iter().map(|live| (live.file.path.clone(), (live.file.rows, live.deleted.clone()))).collect();
        assert_eq!(files, self.files);
        assert_eq!(state.layout.fields.len(), 2 + self.columns);
        for (key, value) in &self.properties {
            assert_eq!(state.properties.get(key), Some(value));
        }
    }
}

/// Two handles of one version say the same.
fn check_same(a: &Table, b: &Table) {
    let sorted = |table: &Table| {
        let mut files: Vec<_> =
            table.state().files.iter().map(|live| (live.file.clone(), live.deleted.clone())).collect();
        files.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        files
    };
    assert_eq!(a.loaded.version, b.loaded.version);
    assert_eq!(sorted(a), sorted(b));
    assert_eq!(a.state().layout, b.state().layout);
    assert_eq!(a.state().properties, b.state().properties);
    assert_eq!(a.state().snapshot, b.state().snapshot);
    assert_eq!(a.loaded.tree.totals, b.loaded.tree.totals);
    assert_eq!(a.loaded.tree.puffins, b.loaded.tree.puffins);
    let entry = |entry: &Entry| (entry.snapshot_id, entry.sequence, entry.file_sequence, entry.first_row_id);
    let entries = |table: &Table, path: &str| {
        let file = &table.loaded.tree.files[path];
        (entry(&file.entry), file.vector.as_ref().map(|vector| entry(&vector.entry)))
    };
    for path in a.loaded.tree.files.keys() {
        assert_eq!(entries(a, path), entries(b, path));
    }
}

async fn run(steps: Vec<Step>) {
    let warehouse = Warehouse::new();
    let mut table = warehouse.create(BTreeMap::new()).await;
    let mut model = Model::default();
    let mut row_ids: BTreeMap<String, u64> = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Reopen => {
                let anew = warehouse.open().await;
                check_same(&table, &anew);
                table = anew;
                continue;
            }
            Step::Race => {
                let mut other = warehouse.open().await;
                let first = model.plan(&other, &Step::Property(7), 0);
                commit(&mut other, first).await;
                let file = data_file(&table, 1, 1);
                let late = Commit { id: Uuid::new_v4(), added: vec![file], ..Commit::default() };
                assert_eq!(table.commit(late).await.unwrap(), Outcome::Conflict);
                check_same(&table, &other);
            }
            _ => {
                let next = model.plan(&table, step, number as u64);
                commit(&mut table, next).await;
            }
        }
        model.check(table.state());
        oracle::check(&table);
        // A row keeps its id as long as it lives.
        for (path, file) in &table.loaded.tree.files {
            let id = file.entry.first_row_id.unwrap();
            assert_eq!(*row_ids.entry(path.to_string()).or_insert(id), id);
        }
    }
    check_same(&table, &warehouse.open().await);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_table_is_the_sum_of_its_commits(steps in prop::collection::vec(step(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps));
    }
}
