use std::collections::HashMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::samples;

#[derive(Default)]
struct Leaves(HashMap<ChunkId, Vec<u8>>);

impl Leaves {
    fn store(&mut self, leaf: &[u8]) -> std::result::Result<ChunkId, Infallible> {
        assert!(leaf.len() <= crate::frame::MAX_CHUNK);
        let id = ChunkId(*blake3::hash(leaf).as_bytes());
        self.0.insert(id, leaf.to_vec());
        Ok(id)
    }
}

type Pushed = Vec<(Option<ChunkId>, u64)>;

fn build(layout: Layout, pushed: &Pushed) -> (Rope, Leaves) {
    let mut leaves = Leaves::default();
    let mut builder = RopeBuilder::new(layout);
    for (chunk, bytes) in pushed {
        let Ok(()) = builder.push(*chunk, *bytes, &mut |leaf| leaves.store(leaf));
    }
    let Ok(rope) = builder.finish(&mut |leaf| leaves.store(leaf));
    (rope, leaves)
}

/// The lines of depth 0, as a reader finds them; also checks that inner lengths are sums.
fn flatten(rope: &Rope, leaves: &Leaves) -> Vec<Line> {
    fn below(lines: Vec<Line>, depth: u8, leaves: &Leaves, out: &mut Vec<Line>) {
        if depth == 0 {
            return out.extend(lines);
        }
        for line in lines {
            let leaf = &leaves.0[&line.chunk.expect("a hole stands at depth 0 only")];
            let at = out.len();
            below(parse_leaf(leaf).unwrap().collect::<Result<_>>().unwrap(), depth - 1, leaves, out);
            if let Some(len) = line.len {
                assert_eq!(len, out[at..].iter().map(|line| line.len.unwrap()).sum::<u64>());
            }
        }
    }
    let mut out = Vec::new();
    below(rope.parse_lines().unwrap(), rope.depth, leaves, &mut out);
    out
}

fn lines_of(layout: Layout, pushed: &Pushed) -> Vec<Line> {
    let len = |bytes| (layout == Layout::Variable).then_some(bytes);
    pushed.iter().map(|(chunk, bytes)| Line { chunk: *chunk, len: len(*bytes) }).collect()
}

const LAYOUTS: [Layout; 3] = [Layout::Fixed { chunk_size: 64 << 10 }, Layout::Variable, Layout::Listing];

/// Line `n` of a made-up rope: a hole now and then, where the layout has them.
fn line(layout: Layout, n: u64) -> (Option<ChunkId>, u64) {
    let hole = layout != Layout::Listing && n % 11 == 3;
    ((!hole).then(|| samples::id(n)), 1 + n % 999)
}

#[test]
fn ropes_of_every_size_come_back() {
    let sizes = (0..20).chain([
        31, 32, 33, 255, 256, 257, 511, 512, 513, 1_023, 1_024, 1_025, 2_304, 2_305, 65_535, 65_536, 65_537,
        100_000,
    ]);
    for size in sizes {
        for layout in LAYOUTS {
            let pushed: Pushed = (0..size).map(|n| line(layout, n)).collect();
            let (rope, leaves) = build(layout, &pushed);
            assert!(flatten(&rope, &leaves) == lines_of(layout, &pushed), "{layout:?} of {size}");
            assert!(rope.depth <= 3 && rope.lines.len() <= INLINE);
            assert_eq!(rope.depth == 0, size <= INLINE as u64);
            let (again, _) = build(layout, &pushed);
            assert_eq!(again, rope, "identical input, identical ids");
            let json = serde_json::to_string(&rope).unwrap();
            assert_eq!(serde_json::from_str::<Rope>(&json).unwrap(), rope);
        }
    }
}

/// Ids that never, or always, look like a border: leaves stay between their smallest and largest size.
#[test]
fn leaves_have_a_smallest_and_a_largest_size() {
    for first in [0, 1] {
        let pushed: Pushed = (0..20_000)
            .map(|n| {
                let mut id = samples::id(n);
                id.0[0] = first;
                (Some(id), 1)
            })
            .collect();
        for layout in [Layout::Variable, Layout::Listing] {
            let (rope, leaves) = build(layout, &pushed);
            assert!(flatten(&rope, &leaves) == lines_of(layout, &pushed));
            assert!(leaves.0.values().all(|leaf| parse_leaf(leaf).unwrap().count() <= MAX_LEAF));
            let expected = if first == 0 { MIN_LEAF } else { MAX_LEAF };
            assert_eq!(
                leaves.0.values().filter(|leaf| parse_leaf(leaf).unwrap().count() == expected).count(),
                20_000 / expected
            );
        }
    }
}

fn changed_leaves(before: &Leaves, after: &Leaves) -> usize {
    after.0.keys().filter(|id| !before.0.contains_key(id)).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_changed_line_of_a_volume_changes_one_path(size in 1u64..70_000, at in any::<prop::sample::Index>()) {
        let layout = LAYOUTS[0];
        let mut pushed: Pushed = (0..size).map(|n| line(layout, n)).collect();
        let (rope, before) = build(layout, &pushed);
        pushed[at.index(size as usize)].0 = Some(samples::id(u64::MAX / 2));
        let (changed, after) = build(layout, &pushed);
        prop_assert_eq!(changed.depth, rope.depth);
        prop_assert!(changed_leaves(&before, &after) <= usize::from(rope.depth) + 1);
    }

    #[test]
    fn an_inserted_line_of_a_file_changes_few_leaves(size in 1_000u64..30_000, at in any::<prop::sample::Index>()) {
        for layout in [Layout::Variable, Layout::Listing] {
            let mut pushed: Pushed = (0..size).map(|n| line(layout, n)).collect();
            let (_, before) = build(layout, &pushed);
            pushed.insert(at.index(size as usize), (Some(samples::id(u64::MAX / 2)), 5));
            let (rope, after) = build(layout, &pushed);
            prop_assert!(flatten(&rope, &after) == lines_of(layout, &pushed));
            prop_assert!(changed_leaves(&before, &after) <= 12, "{} of {}", changed_leaves(&before, &after), after.0.len());
        }
    }

    #[test]
    fn a_line_has_one_spelling(text in "(-|[0-9a-f]{64}|[0-9a-fA-F]{62,66})( [+0-9]{0,21})?") {
        if let Ok(line) = Line::parse(&text) {
            prop_assert_eq!(line.to_string(), text);
        }
    }

    #[test]
    fn leaves_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(lines) = parse_leaf(&bytes) {
            let _ = lines.count();
        }
    }
}

#[test]
fn lines_that_are_refused() {
    let id = samples::id(1);
    for good in [format!("{id}"), format!("{id} 1"), "-".into(), "- 18446744073709551615".into()] {
        Line::parse(&good).unwrap();
    }
    let long = "x".repeat(1_000_000);
    let refused = [
        "",
        " ",
        "--",
        "- ",
        "- -1",
        "- 0",
        "- 01",
        "- 1 ",
        "-  1",
        "- 18446744073709551616",
        "é",
        &long,
        &format!("{id} 0"),
        &format!(" {id}"),
        &format!("{id}\r"),
    ];
    for text in refused {
        let error = Line::parse(text).unwrap_err().to_string();
        assert!(error.len() < 300);
    }
}

#[test]
fn leaves_that_are_refused() {
    let id = samples::id(1).to_string();
    let of = |n: usize| format!("{id}\n").repeat(n);
    assert_eq!(parse_leaf(of(MAX_LEAF).as_bytes()).unwrap().filter(Result::is_ok).count(), MAX_LEAF);
    assert!(parse_leaf(of(MAX_LEAF + 1).as_bytes()).is_err());
    assert!(parse_leaf(b"").is_err());
    assert!(parse_leaf(id.as_bytes()).is_err());
    assert!(parse_leaf(&[0xff, b'\n']).is_err());
    assert!(parse_leaf(format!("{id}\n\n").as_bytes()).unwrap().any(|line| line.is_err()));
}

#[test]
fn ropes_that_are_refused() {
    let id = samples::id(1).to_string();
    let good = Rope { depth: MAX_DEPTH, chunk_size: Some(64 << 10), lines: vec![id.clone()] };
    good.parse_lines().unwrap();
    let refused = [
        Rope { depth: MAX_DEPTH + 1, ..good.clone() },
        Rope { chunk_size: Some(0), ..good.clone() },
        Rope { chunk_size: Some(100_000), ..good.clone() },
        Rope { lines: vec![id; MAX_LEAF + 1], ..good.clone() },
        Rope { lines: vec!["x".into()], ..good },
    ];
    for rope in refused {
        assert!(rope.parse_lines().is_err());
    }
    assert!(serde_json::from_str::<Rope>(r#"{"depth":256,"lines":[]}"#).is_err());
    assert!(serde_json::from_str::<Rope>(r#"{"depth":0}"#).is_err());
}

#[test]
fn nothing_is_kept_for_no_bytes() {
    let (rope, _) =
        build(Layout::Variable, &vec![(Some(samples::id(1)), 0), (None, 0), (Some(samples::id(2)), 3)]);
    assert_eq!(rope.lines, [format!("{} 3", samples::id(2))]);
}

#[test]
fn an_error_of_the_store_ends_the_building() {
    let mut builder = RopeBuilder::new(LAYOUTS[0]);
    let mut refuse = |_: &[u8]| Err("full");
    for n in 0..255 {
        builder.push(Some(samples::id(n)), 1, &mut refuse).unwrap();
    }
    assert_eq!(builder.push(None, 1, &mut refuse), Err("full"));
}
