//! Tests of the ledger: what is written, what is read, and what a crash leaves.

use super::*;
use crate::disk::mem::{Fault, MemDisk};

const KEY: Key = [1; 16];
const PATH: &str = "/s/ledger";

fn ledger(disk: &MemDisk) -> Ledger<'_> {
    disk.make_dir(Path::new("/s")).unwrap();
    Ledger::new(disk, PATH.into(), "/s/lock".into(), "me".to_owned())
}

fn set(slot: Slot, text: &str) -> Note {
    Note::Set(slot, text.as_bytes().into())
}

fn success(ledger: &Ledger<'_>) -> Option<String> {
    let value = ledger.get(&KEY, &Warnings::default()).success?;
    Some(String::from_utf8_lossy(&value).into_owned())
}

fn put(ledger: &Ledger<'_>, text: &str) -> Result<(), DiskError> {
    ledger.put(&KEY, [set(Slot::Success, text)], &Warnings::default())
}

#[test]
fn two_ledgers_of_one_file_see_each_other() {
    let disk = MemDisk::new();
    let (one, two) = (ledger(&disk), ledger(&disk));
    put(&one, "1").unwrap();
    assert_eq!(success(&two).as_deref(), Some("1"));
    put(&two, "22").unwrap();
    assert_eq!(success(&one).as_deref(), Some("22"));
    one.put(&KEY, [Note::Clear(Slot::Success)], &Warnings::default())
        .unwrap();
    assert_eq!(success(&two), None);
    disk.remove(Path::new(PATH)).unwrap();
    put(&two, "3").unwrap();
    assert_eq!(success(&one).as_deref(), Some("3"));
}

#[test]
fn what_is_noted_counts_at_once_and_lasts_from_the_flush_on() {
    let disk = MemDisk::new();
    let one = ledger(&disk);
    let warnings = Warnings::default();
    let note = |text| {
        let notes = [set(Slot::Inputs, "of it"), set(Slot::Success, text)];
        one.note(&KEY, notes, &warnings).unwrap();
    };
    note("first");
    note("second");
    assert_eq!(success(&one).as_deref(), Some("second"));
    assert_eq!(success(&ledger(&disk)), None);
    one.flush(&warnings).unwrap();
    let read = ledger(&disk).get(&KEY, &warnings);
    assert_eq!(read.success.as_deref(), Some(&b"second"[..]));
    assert_eq!(read.inputs.as_deref(), Some(&b"of it"[..]));
    let whole = disk.read(Path::new(PATH)).unwrap();
    assert!(!whole.windows(5).any(|bytes| bytes == b"first"));
    one.flush(&warnings).unwrap();
    assert_eq!(disk.read(Path::new(PATH)).unwrap(), whole);
}

#[test]
fn what_is_torn_before_the_marker_leaves_the_attempt_in_force() {
    let disk = MemDisk::new();
    let (one, warnings) = (ledger(&disk), Warnings::default());
    one.put(&KEY, [set(Slot::Marker, "begun")], &warnings)
        .unwrap();
    let begun = disk.read(Path::new(PATH)).unwrap().len();
    let end = [
        Note::Clear(Slot::Marker),
        set(Slot::Success, "key"),
        set(Slot::Inputs, "of it"),
    ];
    one.put(&KEY, end, &warnings).unwrap();
    let whole = disk.read(Path::new(PATH)).unwrap();
    for len in begun..whole.len() {
        disk.edit(PATH, &whole[..len]);
        let read = ledger(&disk).get(&KEY, &warnings);
        assert!(read.marker.is_some(), "{len} of {}", whole.len());
    }
    disk.edit(PATH, &whole);
    let read = ledger(&disk).get(&KEY, &warnings);
    assert!(read.marker.is_none() && read.success.is_some());
}

#[test]
fn notes_do_not_pile_up() {
    let disk = MemDisk::new();
    let one = ledger(&disk);
    for n in 0..PENDING_MAX {
        let mut key = KEY;
        key[..8].copy_from_slice(&n.to_le_bytes());
        one.note(&key, [set(Slot::Success, "x")], &Warnings::default())
            .unwrap();
    }
    assert!(disk.stat(Path::new(PATH)).is_ok());
}

#[test]
fn every_cut_gives_an_earlier_state_and_the_next_write_mends_it() {
    let disk = MemDisk::new();
    let first = ledger(&disk);
    put(&first, "first").unwrap();
    let one = disk.read(Path::new(PATH)).unwrap().len();
    put(&first, "second").unwrap();
    let whole = disk.read(Path::new(PATH)).unwrap();
    for len in 0..whole.len() {
        disk.edit(PATH, &whole[..len]);
        let cut = ledger(&disk);
        let expected = (len >= one).then_some("first");
        assert_eq!(success(&cut).as_deref(), expected, "{len}");
        put(&cut, "third").unwrap();
        assert_eq!(success(&ledger(&disk)).as_deref(), Some("third"), "{len}");
    }
}

#[test]
fn a_flipped_bit_anywhere_makes_it_worthless() {
    let disk = MemDisk::new();
    let first = ledger(&disk);
    put(&first, "first").unwrap();
    put(&first, "second").unwrap();
    let whole = disk.read(Path::new(PATH)).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.edit(PATH, &bytes);
        let flipped = ledger(&disk);
        let warnings = Warnings::default();
        assert_eq!(flipped.get(&KEY, &warnings), Values::default(), "{bit}");
        assert_eq!(warnings.take().len(), 1, "{bit}");
    }
}

#[test]
fn what_is_superseded_goes_and_what_counts_stays() {
    let disk = MemDisk::new();
    let (one, two) = (ledger(&disk), ledger(&disk));
    let long = "x".repeat(1000);
    for _ in 0..100 {
        put(&one, &long).unwrap();
    }
    put(&one, "last").unwrap();
    assert_eq!(success(&two).as_deref(), Some("last"));
    one.compact(&Warnings::default()).unwrap();
    assert!(disk.read(Path::new(PATH)).unwrap().len() < 200);
    put(&two, "after").unwrap();
    assert_eq!(success(&one).as_deref(), Some("after"));
}

#[test]
fn what_was_written_longest_ago_is_forgotten_first() {
    let disk = MemDisk::new();
    let one = ledger(&disk);
    let text = "x".repeat(52);
    for n in 0..10 {
        let note = set(Slot::Success, &text);
        one.put(&[n; 16], [note], &Warnings::default()).unwrap();
    }
    let holds = |n| one.get(&[n; 16], &Warnings::default()) != Values::default();
    one.shrink(2000, &Warnings::default()).unwrap();
    assert!((0..10).all(holds));
    one.shrink(800, &Warnings::default()).unwrap();
    assert!((6..10).all(holds) && !(0..6).any(holds));
}

#[test]
fn on_a_full_disk_a_value_can_still_be_forgotten() {
    let disk = MemDisk::new();
    let full = ledger(&disk);
    put(&full, "old").unwrap();
    let kind = std::io::ErrorKind::StorageFull;
    disk.set_fault(Some(Fault::FailFrom(0, kind)));
    assert!(put(&full, "new").is_err());
    full.forget_at_any_price(&KEY, &Warnings::default())
        .unwrap();
    disk.set_fault(None);
    assert_eq!(success(&full), None);
    assert_eq!(success(&ledger(&disk)), None);
}
