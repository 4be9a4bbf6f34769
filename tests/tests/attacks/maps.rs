//! Maps of files and volumes that are endless, nonsense, or lost in part.

use std::time::Duration;

use fardel_engine::monitor::Silent;
use fardel_engine::restore::{self, RestoreOptions};
use fardel_format::ChunkId;
use fardel_format::tree::{Node, NodeKind};
use fardel_tests::disk_tree::{bytes, temporary_folder};

use super::trees::{Tree, file_of, folder_of, volume_of};

#[test]
fn maps_that_do_not_fit_their_files() {
    let mut tree = Tree::new("false-maps");
    let id = tree.chunk(b"0123456789").to_string();
    let all = u64::MAX;
    let wrong = [
        file_of("f", 9, 0, vec![format!("{id} 10")]),
        file_of("f", 11, 0, vec![format!("{id} 10")]),
        file_of("f", 20, 0, vec![format!("{id} 10")]),
        file_of("f", 9, 0, vec![format!("{id} 9")]),
        file_of("f", 10, 0, vec![id.clone()]),
        file_of("f", 0, 0, vec![format!("{id} 10")]),
        file_of("f", 10, 0, vec![format!("{id} {all}")]),
        file_of("f", 10, 0, vec![format!("- {all}"), format!("{id} 10")]),
        file_of("f", all, 0, vec![format!("- {all}"), format!("- {all}")]),
        file_of("f", all, 0, vec![format!("{id} 10"), format!("- {all}")]),
        file_of("f", 5, 0, vec![format!("- {all}")]),
        file_of("f", 10, 0, vec!["nonsense".into()]),
        file_of("f", 10, 255, vec![format!("{id} 10")]),
        file_of("f", 10, 9, vec![format!("{id} 10")]),
        file_of("f", 10, 1, vec![format!("{id} 10")]),
        file_of("f", 10, 1, vec!["- 10".into()]),
        file_of("f", 10, 0, vec![format!("{id} 1"); 2000]),
        volume_of("v", 10, 0, vec![format!("{id} 10")]),
        volume_of("v", 10, 0, vec![]),
        volume_of("v", 10, 0, vec![id.clone(), id.clone()]),
        volume_of("v", 20_000, 0, vec![id.clone()]),
        volume_of("v", all, 0, vec!["-".into()]),
        volume_of("v", all, 8, vec!["-".into()]),
        volume_of("v", all, 255, vec![id.clone()]),
    ];
    let mut count = 0;
    for node in wrong {
        let folder = tree.folder("", std::slice::from_ref(&node));
        tree.is_told(folder);
        tree.is_told(node);
        count += 2;
    }
    println!("trees: {count} maps that do not fit");
}

#[test]
fn a_hole_as_large_as_a_number_can_say() {
    let mut tree = Tree::new("great-hole");
    let all = u64::MAX;
    for node in [
        file_of("f", all, 0, vec![format!("- {all}")]),
        file_of("f", 1 << 62, 0, vec![format!("- {}", 1u64 << 62)]),
    ] {
        let folder = tree.folder("", &[node]);
        let (put, report) = tree.seal(folder);
        assert!(report.is_whole(), "the map fits: {report:#?}");
        // No file system may hold that; then it is told.
        let restored = tree.restore(&put, None).unwrap();
        assert!(restored.is_whole() || !restored.failed.is_empty(), "{restored:?}");
        tree.forget(&put);
    }
}

#[test]
fn a_small_map_with_more_lines_than_atoms() {
    let mut tree = Tree::new("endless-map");
    let holes = "-\n".repeat(256);
    let mut volume = tree.part(&holes);
    for _ in 0..4 {
        volume = tree.part(format!("{volume}\n").repeat(256));
    }
    // 2^40 holes of 16 KiB.
    let node = volume_of("v", 1 << 54, 5, vec![volume.to_string()]);
    let folder = tree.folder("", &[node]);
    let (put, report) = tree.seal(folder);
    assert!(report.is_whole(), "{report:#?}");
    let stopped = tree.restore(&put, Some(Duration::from_secs(1)));
    assert!(stopped.is_err() || !stopped.unwrap().is_whole());
    tree.forget(&put);

    // 2^60 lines of a folder, all of one leaf.
    let mut listing = tree.part(Node::new(b"once", NodeKind::Fifo).to_line());
    for _ in 0..6 {
        listing = tree.part(format!("{listing}\n").repeat(1024));
    }
    tree.is_told(folder_of("", 6, vec![listing.to_string()]));
    // The same of a leaf that is not there, or not JSON.
    for bad in ["nonsense\n".repeat(1000), String::new()] {
        let mut listing = if bad.is_empty() { ChunkId([9; 32]) } else { tree.part(&bad) };
        for _ in 0..6 {
            listing = tree.part(format!("{listing}\n").repeat(1024));
        }
        tree.is_told(folder_of("", 6, vec![listing.to_string()]));
    }
}

/// A part of a map or of a folder is lost: what lies behind it is restored, and what is missing is told to the byte.
#[test]
fn what_lies_behind_a_lost_part_is_restored() {
    let mut tree = Tree::new("behind");
    let lost = ChunkId([6; 32]);
    let chunk = bytes("behind", 16 << 10);
    let id = tree.chunk(&chunk);
    let small = tree.chunk(b"0123456789");
    let behind = tree.part(format!("{id}\n{}", "-\n".repeat(255)));
    let volume = volume_of("v", 2 << 22, 1, vec![lost.to_string(), behind.to_string()]);
    let part = tree.part(format!("{small} 10\n"));
    let file = file_of("f", 20, 1, vec![format!("{lost} 10"), format!("{part} 10")]);
    let leaf = tree.part([file.to_line(), volume.to_line()].concat());
    let folder = folder_of("", 0, vec![lost.to_string(), leaf.to_string()]);
    let (put, _) = tree.seal(folder);

    let restored = tree.honest.vault.open().restore(&put.id).unwrap();
    let damaged =
        |name: &str| restored.report.damaged.iter().find(|found| found.path.ends_with(name)).unwrap();
    let left = |name: &str| std::fs::read(damaged(name).partial.as_ref().unwrap()).unwrap();
    assert_eq!(damaged("/f").missing, [(0, 10)]);
    assert_eq!(left("/f")[10..], *b"0123456789");
    assert_eq!(damaged("/v").missing, [(0, 4 << 20)]);
    assert_eq!(left("/v")[4 << 20..][..chunk.len()], chunk);
    assert_eq!(restored.report.damaged.len(), 3, "the folder too: {:?}", restored.report);
    // The path of one file leads past the lost part.
    let restored = tree.restore_path(&put, Some(b"/attack/f"), None).unwrap();
    assert_eq!(restored.damaged.len(), 1, "{restored:?}");
    let absent = tree.restore_path(&put, Some(b"/attack/e"), None).unwrap_err();
    assert!(!matches!(absent, fardel_engine::Error::NotFound(_)), "it may be in what is lost: {absent}");
    tree.forget(&put);
}

/// A map names a chunk larger than any: nobody makes room for it.
#[test]
fn a_chunk_larger_than_any_takes_no_memory() {
    let mut tree = Tree::new("large-chunk");
    let id = tree.chunk(b"0123456789");
    let len = 1u64 << 38;
    let folder = tree.folder("", &[file_of("f", len, 0, vec![format!("{id} {len}")])]);
    let (put, _) = tree.seal(folder);
    let there = temporary_folder("there");
    std::fs::create_dir(there.path().join("attack")).unwrap();
    std::fs::write(there.path().join("attack/f"), b"0123456789").unwrap();
    let opened = tree.honest.vault.open();
    let snapshots = opened.snapshots().unwrap();
    let sealed = snapshots.find(&put.id.to_string()).unwrap();
    let options = RestoreOptions { in_place: true, ..RestoreOptions::new(there.path()) };
    let restored =
        restore::restore(&opened.repo, &opened.catalog, sealed, None, &options, &Silent::default()).unwrap();
    assert!(!restored.is_whole(), "{restored:?}");
}
