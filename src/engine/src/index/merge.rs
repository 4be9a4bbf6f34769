//! Merges runs into one, streaming: what is held at a time is one record a run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};

use fardel_format::segment::{Counts, Record, SegmentPack, View, frame_entry, pack_entry};

/// Writes the merged segment of `views` without what lies in packs that are not to be kept; records stay sorted, rows of the
/// tables are renumbered.
///
/// # Errors
/// When a view is damaged, or `out` fails.
pub fn merge(
    views: &[View<'_>],
    keep: impl FnMut(&SegmentPack) -> bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let rows = Rows::of(views, keep)?;
    out.write_all(&rows.counts.head())?;
    for (view, packs) in views.iter().zip(&rows.packs) {
        for (i, _) in packs.iter().enumerate().filter(|(_, row)| row.is_some()) {
            out.write_all(&pack_entry(&view.pack(i as u32).map_err(damaged)?))?;
        }
    }
    for ((view, packs), frames) in views.iter().zip(&rows.packs).zip(&rows.frames) {
        for (i, _) in frames.iter().enumerate().filter(|(_, row)| row.is_some()) {
            let (pack, span) = view.frame(i as u32).map_err(damaged)?;
            if let Some(pack) = packs[pack as usize] {
                out.write_all(&frame_entry(pack, &span))?;
            }
        }
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
        if let Some(frame) = rows.frame(run, record.frame) {
            out.write_all(&Record { frame, ..record }.to_bytes())?;
        }
        next(&mut heap, run, at + 1)?;
    }
    Ok(())
}

fn damaged(error: fardel_format::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Which row of the merged tables each row becomes; `None` for what is left out.
struct Rows {
    packs: Vec<Vec<Option<u32>>>,
    frames: Vec<Vec<Option<u32>>>,
    counts: Counts,
}

impl Rows {
    fn of(views: &[View<'_>], mut keep: impl FnMut(&SegmentPack) -> bool) -> io::Result<Self> {
        let mut rows = Self { packs: Vec::new(), frames: Vec::new(), counts: Counts::default() };
        let next = |count: &mut u32| {
            let row = *count;
            *count = row.checked_add(1).ok_or_else(|| io::Error::other("too many frames for one run"))?;
            io::Result::Ok(row)
        };
        for view in views {
            let mut packs = Vec::new();
            for i in 0..view.counts().packs {
                let kept = keep(&view.pack(i).map_err(damaged)?);
                packs.push(kept.then(|| next(&mut rows.counts.packs)).transpose()?);
            }
            let mut frames = Vec::new();
            for i in 0..view.counts().frames {
                let (pack, _) = view.frame(i).map_err(damaged)?;
                let kept = packs.get(pack as usize).is_some_and(Option::is_some);
                frames.push(kept.then(|| next(&mut rows.counts.frames)).transpose()?);
            }
            for i in 0..view.counts().records {
                let frame = view.record(i).map_err(damaged)?.frame;
                let kept = frames.get(frame as usize).is_some_and(Option::is_some);
                rows.counts.records += u64::from(kept);
            }
            rows.packs.push(packs);
            rows.frames.push(frames);
        }
        Ok(rows)
    }

    fn frame(&self, run: usize, frame: u32) -> Option<u32> {
        self.frames[run].get(frame as usize).copied().flatten()
    }
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
        merge(&views, |_| true, &mut merged).unwrap();
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

    #[test]
    fn what_lies_in_other_packs_is_left_out() {
        let (a, b) = (toc(0, 20), toc(10, 20));
        let hash = |i| ObjectHash([i; 32]);
        let one = segment::build([(hash(1), 11, &a), (hash(2), 22, &b)]);
        let two = segment::build([(hash(2), 22, &b)]);
        let views = [View::new(&one).unwrap(), View::new(&two).unwrap()];
        let (mut seen, mut merged) = (Vec::new(), Vec::new());
        let once = |pack: &SegmentPack| {
            seen.push(pack.hash);
            pack.hash == hash(2) && seen.iter().filter(|seen| **seen == hash(2)).count() == 1
        };
        merge(&views, once, &mut merged).unwrap();
        let merged = View::new(&merged).unwrap();
        assert_eq!(merged.counts(), Counts { packs: 1, frames: 20, records: 20 });
        for i in 0..40 {
            let found: Vec<_> = merged.locate(&ChunkId([i; 32])).map(Result::unwrap).collect();
            let wanted: Vec<_> = views[1].locate(&ChunkId([i; 32])).map(Result::unwrap).collect();
            assert_eq!(found, wanted, "chunk {i}");
        }
    }
}
