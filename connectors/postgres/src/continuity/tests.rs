//! Every way to lose a log, and every way to keep it, as data.

use walbrook_model::{Seq, TableId};

use super::*;
use crate::checkpoint::tests::progress as sample;
use crate::checkpoint::{Phase, TableProgress};
use crate::timeline::Switch;

const OID: u32 = 16_500;

/// On timeline 1, at `0x500`, with a last transaction at `0x400..0x430`.
fn progress() -> Progress {
    let last = Commit { final_lsn: Lsn(0x400), end_lsn: Lsn(0x430), xid: 7, committed_at_us: 5 };
    Progress {
        generation: 0,
        timeline: 1,
        history: vec![],
        position: Lsn(0x500),
        last_commit: Some(last),
        emitted_max: Seq::new(0, 1, 0x400, 3).unwrap(),
        tables: vec![table(0x200)],
        publication_oid: OID,
        ..sample()
    }
}

fn table(slice: u64) -> TableProgress {
    let (table, slice) = (TableId::new("public", "t"), Seq::new(0, 1, slice, 0).unwrap());
    TableProgress { oid: 16_384, table, slice, finished: true, member: None }
}

fn server() -> Server {
    Server {
        system_id: "7301".into(),
        database: "shop".into(),
        timelines: Timelines::new(1, vec![]),
        current: Lsn(0x900),
    }
}

fn promoted(timeline: u32, ancestors: &[(u32, u64)]) -> Server {
    let ancestors = ancestors.iter().map(|(timeline, end)| Switch { timeline: *timeline, end: Lsn(*end) }).collect();
    Server { timelines: Timelines::new(timeline, ancestors), ..server() }
}

fn healthy() -> Slot {
    Slot {
        plugin: Some("pgoutput".into()),
        kind: "logical".into(),
        database: Some("shop".into()),
        confirmed_flush_lsn: Some(Lsn(0x500)),
        wal_status: Some("reserved".into()),
        ..Slot::default()
    }
}

fn confirmed(position: u64) -> Slot {
    Slot { confirmed_flush_lsn: Some(Lsn(position)), ..healthy() }
}

#[track_caller]
fn is_gap(
    name: &str,
    progress: &Progress,
    server: &Server,
    slot: Option<&Slot>,
    publication: Option<u32>,
    cause: &str,
) {
    let error = judge(progress, server, slot, publication).expect_err(name);
    assert_eq!(error.kind(), ErrorKind::Gap, "{name}");
    assert!(error.to_string().contains(cause), "{name}: {error}");
    assert!(error.remedy_text().is_some_and(|text| text.contains("walbrook gap accept")), "{name}");
}

#[test]
fn every_loss_is_a_gap_with_its_cause() {
    let (p, s) = (progress(), server());
    let slot = |change: fn(&mut Slot)| {
        let mut slot = healthy();
        change(&mut slot);
        Some(slot)
    };
    let slots: [(&str, Option<Slot>, &str); 12] = [
        ("dropped", None, "does not exist"),
        ("moved on", Some(confirmed(0x501)), "moved on or recreated"),
        ("physical", slot(|slot| slot.kind = "physical".into()), "recreated as another"),
        ("other plugin", slot(|slot| slot.plugin = Some("wal2json".into())), "recreated as another"),
        ("no plugin", slot(|slot| slot.plugin = None), "recreated as another"),
        ("temporary", slot(|slot| slot.temporary = true), "recreated as another"),
        ("other database", slot(|slot| slot.database = Some("other".into())), "another database"),
        ("no database", slot(|slot| slot.database = None), "another database"),
        ("wal removed", slot(|slot| slot.wal_status = Some("lost".into())), "wal_status is lost"),
        ("invalidated", slot(|slot| slot.invalidation_reason = Some("idle_timeout".into())), "idle_timeout"),
        ("conflict", slot(|slot| slot.conflicting = Some(true)), "conflicts with recovery"),
        ("no position", slot(|slot| slot.confirmed_flush_lsn = None), "no confirmed position"),
    ];
    for (name, slot, cause) in slots {
        is_gap(name, &p, &s, slot.as_ref(), Some(OID), cause);
    }
    is_gap("publication dropped", &p, &s, Some(&healthy()), None, "publication does not exist");
    is_gap("publication recreated", &p, &s, Some(&healthy()), Some(OID + 1), "dropped and created again");
    let servers: [(&str, Server, &str); 9] = [
        ("other cluster", Server { system_id: "1".into(), ..server() }, "another cluster"),
        ("other database", Server { database: "other".into(), ..server() }, "of database shop"),
        ("restored older copy", Server { current: Lsn(0x4FF), ..server() }, "log ends at 0/4FF"),
        ("forked before our last change", promoted(2, &[(1, 0x42F)]), "the new primary never had them"),
        ("forked twice, first before our change", promoted(3, &[(1, 0x400), (2, 0x800)]), "never had them"),
        ("no descendant", promoted(3, &[(2, 0x800)]), "does not descend"),
        ("forked before a slice", promoted(2, &[(1, 0x1FF)]), "never had them"),
        ("timeline without history", promoted(2, &[]), "does not descend"),
        ("forked at zero", promoted(2, &[(1, 0)]), "never had them"),
    ];
    for (name, server, cause) in servers {
        is_gap(name, &p, &server, Some(&confirmed(0x100)), Some(OID), cause);
    }
    let second = Progress { timeline: 2, history: vec![Switch { timeline: 1, end: Lsn(0x300) }], ..progress() };
    is_gap("older timeline", &second, &s, Some(&healthy()), Some(OID), "older copy");
    let other = promoted(2, &[(1, 0x301)]);
    is_gap("other history", &second, &other, Some(&healthy()), Some(OID), "not a continuation");
    let ahead = Progress { emitted_max: Seq::new(0, 1, 0x600, 3).unwrap(), ..progress() };
    let fork = promoted(2, &[(1, 0x600)]);
    is_gap("part of a transaction beyond the fork", &ahead, &fork, Some(&healthy()), Some(OID), "never had them");
    let beyond = promoted(2, &[(1, 0x430)]);
    is_gap("the slot begins beyond the fork", &p, &beyond, Some(&confirmed(0x440)), Some(OID), "moved on or recreated");
    let read = Progress { tables: vec![table(0x601)], ..progress() };
    is_gap("slice beyond the fork", &read, &fork, Some(&healthy()), Some(OID), "never had them");
}

#[test]
fn what_is_ours_goes_on() {
    let last = progress().last_commit;
    let resume = |start: u64, covered: u64, expect| Resume { start: Lsn(start), covered: Lsn(covered), expect };
    let cases = [
        ("where it was left", server(), confirmed(0x500), resume(0x500, 0x500, None)),
        ("the slot stepped back in a crash", server(), confirmed(0x300), resume(0x300, 0x500, last)),
        ("back to the start of the last transaction", server(), confirmed(0x400), resume(0x400, 0x500, last)),
        ("behind the start of the last transaction", server(), confirmed(0x401), resume(0x401, 0x500, None)),
        ("log ends where we are", Server { current: Lsn(0x500), ..server() }, healthy(), resume(0x500, 0x500, None)),
        ("promoted beyond us", promoted(2, &[(1, 0x700)]), confirmed(0x450), resume(0x450, 0x500, None)),
        // We had seen idle log that the new primary never had, but no change.
        ("idle beyond the fork", promoted(2, &[(1, 0x430)]), confirmed(0x200), resume(0x200, 0x430, last)),
        ("promoted twice", promoted(5, &[(1, 0x600), (4, 0x700)]), confirmed(0x500), resume(0x500, 0x500, None)),
    ];
    for (name, server, slot, wanted) in cases {
        assert_eq!(judge(&progress(), &server, Some(&slot), Some(OID)).expect(name), wanted, "{name}");
    }
    for wal_status in ["extended", "unreserved"] {
        let slot = Slot { wal_status: Some(wal_status.into()), active: true, ..healthy() };
        judge(&progress(), &server(), Some(&slot), Some(OID)).expect(wal_status);
    }
    let fresh = Progress { phase: Phase::Snapshot, last_commit: None, ..progress() };
    let resumed = judge(&fresh, &server(), Some(&confirmed(0x100)), Some(OID)).unwrap();
    assert_eq!(resumed.expect, None);
}

#[test]
fn a_row_of_the_view_is_read_whatever_the_version() {
    let row = r#"{"slot_name":"s","plugin":"pgoutput","slot_type":"logical","datoid":5,"database":"shop",
        "temporary":false,"active":true,"active_pid":99,"xmin":null,"catalog_xmin":"740","restart_lsn":"0/1500",
        "confirmed_flush_lsn":"0/1538","wal_status":"reserved","safe_wal_size":null,"two_phase":false,
        "conflicting":false,"invalidation_reason":null,"failover":false,"synced":false}"#;
    let slot: Slot = serde_json::from_str(row).unwrap();
    assert_eq!((slot.confirmed_flush_lsn, slot.active), (Some(Lsn(0x1538)), true));
    assert_eq!(slot.invalidation_reason, None);
    let lost = r#"{"slot_type":"logical","temporary":false,"active":false,"restart_lsn":null,"wal_status":"lost"}"#;
    let slot: Slot = serde_json::from_str(lost).unwrap();
    assert_eq!(slot.wal_status.as_deref(), Some("lost"));
}
