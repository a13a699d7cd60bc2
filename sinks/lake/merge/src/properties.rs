//! What a lake table says of itself in its properties: whose it is, and how far it is.
//!
//! They change in the same commit as the rows. A record that another version of walbrook may have written is refused, and
//! a table without one is another's.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use walbrook_model::{Error, Result, Seq};

const FORMAT: &str = "walbrook.format";
const PIPELINE: &str = "walbrook.pipeline";
const CONTROL: &str = "walbrook.control";
const SOURCE_TABLE: &str = "walbrook.source-table";
const COMMITS: &str = "walbrook.commits";
const COMPLETE_UP_TO: &str = "walbrook.complete-up-to";
const SLICE_UP_TO: &str = "walbrook.slice-up-to";
const EVOLVED_AT: &str = "walbrook.evolved-at";
const GRAVES: &str = "walbrook.graves";
const LOGS: &str = "walbrook.logs";

/// The version of these properties.
const VERSION: &str = "1";

/// Whose a table is. All of it must match before we write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Name of the pipeline.
    pub(crate) pipeline: String,
    /// Identity of the control table that holds the checkpoint of the table's data.
    pub(crate) control: Uuid,
    /// `schema.name` at the source.
    pub(crate) source_table: String,
}

/// The properties of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Whose the table is.
    pub(crate) owner: Owner,
    /// How many commits we made: a table that went back in time is recognised by it.
    pub(crate) commits: u64,
    /// Every change of the log up to this token is in the table: the floor of an append table.
    pub(crate) complete_up_to: Seq,
    /// The newest slice that is whole in the table.
    pub(crate) slice_up_to: Seq,
    /// The change that brought the newest column.
    pub(crate) evolved_at: Seq,
    /// The file that keeps graves and marks; an append table and a table without any have none.
    pub(crate) graves: Option<GravesName>,
    /// The logs that the rows come from, as the checkpoint has them.
    pub(crate) logs: String,
}

/// Names a graves file, and what must be in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GravesName {
    /// Name in the table's state folder.
    pub(crate) file: String,
    /// Its CRC-32.
    pub(crate) crc: u32,
    /// Its length.
    pub(crate) bytes: u64,
}

impl Record {
    /// Of a new table.
    pub(crate) fn new(owner: Owner) -> Self {
        Self {
            owner,
            commits: 0,
            complete_up_to: Seq::ZERO,
            slice_up_to: Seq::ZERO,
            evolved_at: Seq::ZERO,
            graves: None,
            logs: String::new(),
        }
    }

    /// Reads the properties of a table; `None` if walbrook did not make it.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] for those of a later version, [`walbrook_model::ErrorKind::Gap`] if they
    /// are damaged.
    pub(crate) fn read(properties: &BTreeMap<String, String>) -> Result<Option<Self>> {
        match properties.get(FORMAT).map(String::as_str) {
            None => return Ok(None),
            Some(VERSION) => {}
            Some(_) => {
                return Err(Error::config("the table was written by another version of walbrook")
                    .remedy("run the version that wrote it, or a later one"));
            }
        }
        let graves: String = get(properties, GRAVES)?;
        let graves = serde_json::from_str(&graves).map_err(|error| damaged(GRAVES).because(error))?;
        Ok(Some(Self {
            owner: Owner {
                pipeline: get(properties, PIPELINE)?,
                control: get(properties, CONTROL)?,
                source_table: get(properties, SOURCE_TABLE)?,
            },
            commits: get(properties, COMMITS)?,
            complete_up_to: seq(properties, COMPLETE_UP_TO)?,
            slice_up_to: seq(properties, SLICE_UP_TO)?,
            evolved_at: seq(properties, EVOLVED_AT)?,
            graves,
            logs: get(properties, LOGS)?,
        }))
    }

    /// As properties.
    pub(crate) fn write(&self) -> Result<BTreeMap<String, String>> {
        let mut properties = BTreeMap::new();
        let mut set = |name: &str, value: String| properties.insert(name.to_owned(), value);
        set(FORMAT, VERSION.to_owned());
        set(PIPELINE, self.owner.pipeline.clone());
        set(CONTROL, self.owner.control.to_string());
        set(SOURCE_TABLE, self.owner.source_table.clone());
        set(COMMITS, self.commits.to_string());
        set(COMPLETE_UP_TO, self.complete_up_to.to_u128().to_string());
        set(SLICE_UP_TO, self.slice_up_to.to_u128().to_string());
        set(EVOLVED_AT, self.evolved_at.to_u128().to_string());
        set(LOGS, self.logs.clone());
        // Said also where there is none: a lost name must not look like a table without graves.
        let graves = serde_json::to_string(&self.graves).map_err(|error| Error::bug("graves name").because(error))?;
        set(GRAVES, graves);
        Ok(properties)
    }

    /// Whether the table may be written by `owner`.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if it is another's, [`walbrook_model::ErrorKind::Gap`] if it was ours under
    /// a checkpoint that is not there any more.
    pub(crate) fn check_owner(&self, owner: &Owner) -> Result<()> {
        if self.owner.pipeline != owner.pipeline {
            return Err(Error::config(format!("the lake table belongs to pipeline {}", self.owner.pipeline))
                .remedy("give one of the pipelines another namespace: [sink.lake] namespace = \"...\""));
        }
        if self.owner.source_table != owner.source_table {
            return Err(Error::config(format!(
                "the lake table already holds source table {}",
                self.owner.source_table
            ))
            .remedy("remove [sink.lake] namespace, so that each schema has its own, or leave one table out"));
        }
        if self.owner.control != owner.control {
            return Err(Error::gap("the lake table holds data of this pipeline, but its checkpoint is gone").remedy(
                "restore the table that held the checkpoint, or drop this lake table and take a new snapshot",
            ));
        }
        Ok(())
    }
}

fn get<T: FromStr<Err: Display>>(properties: &BTreeMap<String, String>, name: &str) -> Result<T> {
    let text = properties.get(name).ok_or_else(|| damaged(name))?;
    text.parse().map_err(|error: T::Err| damaged(name).because(error.to_string()))
}

fn seq(properties: &BTreeMap<String, String>, name: &str) -> Result<Seq> {
    Seq::from_u128(get(properties, name)?).ok_or_else(|| damaged(name))
}

fn damaged(name: &str) -> Error {
    Error::gap(format!("the property {name} of the lake table is missing or damaged"))
        .remedy("restore the table's metadata, or drop the lake table and take a new snapshot of this table")
}

#[cfg(test)]
mod tests {
    use super::*;
    use walbrook_model::ErrorKind;

    fn record() -> Record {
        let owner = Owner { pipeline: "shop".into(), control: Uuid::from_u128(7), source_table: "public.t".into() };
        Record {
            commits: 3,
            complete_up_to: Seq::MAX,
            slice_up_to: Seq::from_u128(5).unwrap(),
            evolved_at: Seq::ZERO,
            graves: Some(GravesName { file: "graves-x.bin".into(), crc: u32::MAX, bytes: 9 }),
            logs: "[]".into(),
            ..Record::new(owner)
        }
    }

    #[test]
    fn a_record_comes_back() {
        let record = record();
        assert_eq!(Record::read(&record.write().unwrap()).unwrap(), Some(record));
        assert_eq!(Record::read(&BTreeMap::new()).unwrap(), None);
    }

    #[test]
    fn what_is_damaged_or_of_another_version_is_refused() {
        let check = |name: &str, value: Option<&str>, kind| {
            let mut properties = record().write().unwrap();
            match value {
                Some(value) => properties.insert(name.to_owned(), value.to_owned()),
                None => properties.remove(name),
            };
            assert_eq!(Record::read(&properties).unwrap_err().kind(), kind, "{name} {value:?}");
        };
        check(FORMAT, Some("2"), ErrorKind::Config);
        check(COMPLETE_UP_TO, None, ErrorKind::Gap);
        check(COMPLETE_UP_TO, Some("-1"), ErrorKind::Gap);
        check(COMPLETE_UP_TO, Some("340282366920938463463374607431768211455"), ErrorKind::Gap);
        check(GRAVES, Some("{}"), ErrorKind::Gap);
        check(GRAVES, None, ErrorKind::Gap);
        check(CONTROL, Some("x"), ErrorKind::Gap);
    }

    #[test]
    fn only_the_owner_writes() {
        let check = |change: fn(&mut Owner), kind| {
            let record = record();
            let mut owner = record.owner.clone();
            change(&mut owner);
            assert_eq!(record.check_owner(&owner).unwrap_err().kind(), kind);
        };
        check(|owner| owner.pipeline = "other".into(), ErrorKind::Config);
        check(|owner| owner.source_table = "public.u".into(), ErrorKind::Config);
        check(|owner| owner.control = Uuid::from_u128(8), ErrorKind::Gap);
        record().check_owner(&record().owner).unwrap();
    }
}
