//! Merges runs into one, streaming: what is held at a time is one record a run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};

use fardel_format::segment::{Counts, Record, View, frame_entry, pack_entry};

/// Writes the merged segment of `views`; records stay sorted, rows of the tables are renumbered.
///
/// # Errors
/// When a view is damaged, or `out` fails.
pub fn merge(views: &[View<'_>], out: &mut impl Write) -> io::Result<()> {
    let damaged = |e: fardel_format::Error| io::Error::new(io::ErrorKind::InvalidData, e);
    let mut counts = Counts::default();
    let mut first_frames = Vec::with_capacity(views.len());
    for view in views {
        first_frames.push(counts.frames);
        let more = view.counts();
        let sum =
            |a: u32, b: u32| a.checked_add(b).ok_or_else(|| io::Error::other("too many frames for one run"));
        counts.packs = sum(counts.packs, more.packs)?;
        counts.frames = sum(counts.frames, more.frames)?;
        counts.records += more.records;
    }
    out.write_all(&counts.head())?;
    for view in views {
        for i in 0..view.counts().packs {
            out.write_all(&pack_entry(&view.pack(i).map_err(damaged)?))?;
        }
    }
    let mut first_pack = 0;
    for view in views {
        for i in 0..view.counts().frames {
            let (pack, span) = view.frame(i).map_err(damaged)?;
            out.write_all(&frame_entry(first_pack + pack, &span))?;
        }
        first_pack += view.counts().packs;
    }
    let mut heap = BinaryHeap::with_capacity(views.len());
    let next =
        |heap: &mut BinaryHeap<Reverse<(Record, usize, u64)>>, run: usize, at: u64| -> io::Result<()> {
            if at < views[run].counts().records {
                heap.push(Reverse((views[run].record(at).map_err(damaged)?, run, at)));
            }
            Ok(())
        };
    for run in 0..views.len() {
        next(&mut heap, run, 0)?;
    }
    while let Some(Reverse((record, run, at))) = heap.pop() {
        out.write_all(&Record { frame: record.frame + first_frames[run], ..record }.to_bytes())?;
        next(&mut heap, run, at + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fardel_format::frame::Member;
    use fardel_format::pack::{FrameSpan, PackKind, Toc};
    use fardel_format::{ChunkId, ObjectHash, segment};

    use super::*;

    fn toc(first: u8, chunks: u8) -> Toc {
        let member = |i: u8| Member { id: ChunkId([i; 32]), offset: 512, len: u32::from(i) };
        let frame =
            |i: u8| (FrameSpan { offset: u64::from(i) * 100, stored: 100, plain: 2048 }, vec![member(i)]);
        Toc { kind: PackKind::Data, frames: (first..first + chunks).map(frame).collect() }
    }

    #[test]
    fn every_chunk_is_found_where_it_was() {
        let (a, b, c) = (toc(0, 20), toc(10, 20), toc(5, 3));
        let hash = |i| ObjectHash([i; 32]);
        let one = segment::build([(hash(1), 11, &a)]);
        let two = segment::build([(hash(2), 22, &b), (hash(3), 33, &c)]);
        let views = [View::new(&one).unwrap(), View::new(&two).unwrap()];
        let mut merged = Vec::new();
        merge(&views, &mut merged).unwrap();
        let merged = View::new(&merged).unwrap();
        assert_eq!(merged.counts(), Counts { packs: 3, frames: 43, records: 43 });
        for i in 0..40 {
            let id = ChunkId([i; 32]);
            let sorted = |mut v: Vec<segment::Location>| {
                v.sort_by_key(|l| l.pack.hash);
                v
            };
            let apart = views.iter().flat_map(|v| v.locate(&id)).map(Result::unwrap).collect();
            let together = merged.locate(&id).map(Result::unwrap).collect();
            assert_eq!(sorted(together), sorted(apart), "chunk {i}");
        }
    }
}
