//! Replays the corpus of `fuzz-corpus/` and many mutations of it through every decoder.
//!
//! `cargo test --test fuzz_corpus -- --nocapture` prints the counts and the seed. `FARDEL_FUZZ_SEED` repeats a run,
//! `FARDEL_FUZZ_RUNS` sets the number of mutations for each decoder, and
//! `cargo test --test fuzz_corpus -- --ignored make_samples` makes the samples anew.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use fardel_tests::fuzz::{TARGETS, Target};

#[path = "fuzz_corpus/mutate.rs"]
mod mutate;
#[path = "fuzz_corpus/samples.rs"]
mod samples;

use mutate::Random;

const RUNS: u64 = 20_000;
/// Samples that a folder may hold; what a fuzzer finds is minimised before it is kept.
const MOST_SAMPLES: usize = 15;
const MOST_BYTES: u64 = 300 << 10;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz-corpus")
}

fn samples_of(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = corpus().join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[test]
fn every_sample_is_harmless() {
    let mut total = 0;
    for (name, decode) in TARGETS {
        let samples = samples_of(name);
        assert!((3..=MOST_SAMPLES).contains(&samples.len()), "{name} has {} samples", samples.len());
        for (path, bytes) in &samples {
            println!("{}", path.display());
            decode(bytes);
            total += bytes.len() as u64;
        }
    }
    assert!(total < MOST_BYTES, "{total} bytes of samples");
    let folders = std::fs::read_dir(corpus()).unwrap().count();
    assert_eq!(folders, TARGETS.len(), "a folder for each decoder and no other");
}

#[test]
fn mutations_are_harmless() {
    let seed = setting("FARDEL_FUZZ_SEED").unwrap_or_else(|| {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
        now.as_nanos() as u64
    });
    let runs = setting("FARDEL_FUZZ_RUNS").unwrap_or(RUNS);
    println!("seed {seed}: FARDEL_FUZZ_SEED={seed} repeats this run");
    let begun = Instant::now();
    // Two at once: most machines have two cores.
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            while let Some(target) = TARGETS.get(next.fetch_add(1, Relaxed)) {
                run_one(target, seed, runs);
            }
        };
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().for_each(|thread| thread.join().expect("a decoder failed: the input is above"));
    });
    let all = runs * TARGETS.len() as u64;
    println!(
        "{all} mutated inputs, {} decoders, {:.1} s, seed {seed}",
        TARGETS.len(),
        begun.elapsed().as_secs_f64()
    );
}

fn run_one((name, decode): &Target, seed: u64, runs: u64) {
    let samples: Vec<_> = samples_of(name).into_iter().map(|(_, bytes)| bytes).collect();
    let begun = Instant::now();
    // Each decoder has its own stream, so that one of them can be repeated alone.
    let own = *blake3::hash(name.as_bytes()).as_bytes().first_chunk().expect("a hash has eight bytes");
    let mut random = Random::new(seed ^ u64::from_le_bytes(own));
    for run in 0..runs {
        let input = mutate::mutate(&samples, &mut random);
        if std::panic::catch_unwind(|| decode(&input)).is_err() {
            let path = std::env::temp_dir().join(format!("fardel-fuzz-{name}-{seed}-{run}"));
            std::fs::write(&path, &input).unwrap();
            panic!("{name} fails on {} (seed {seed}, run {run})", path.display());
        }
    }
    println!(
        "{name}: {runs} mutations of {} samples in {:.2} s",
        samples.len(),
        begun.elapsed().as_secs_f64()
    );
}

/// `fuzz/` has a wrapper for each decoder, so that none is left out on nightly.
#[test]
fn every_decoder_has_a_wrapper() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let wrapper = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(wrapper.contains(&format!("fardel_tests::fuzz::{name}")), "{name}");
        assert!(manifest.contains(&format!("\"fuzz_targets/{name}.rs\"")), "{name}");
    }
    assert_eq!(std::fs::read_dir(fuzz.join("fuzz_targets")).unwrap().count(), TARGETS.len());
}

#[test]
#[ignore = "writes the samples anew; the ones in git stay good"]
fn make_samples() {
    for (target, name, bytes) in samples::all() {
        let folder = corpus().join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}
