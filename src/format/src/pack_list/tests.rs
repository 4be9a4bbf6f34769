use proptest::prelude::*;

use super::*;
use crate::samples;

fn entry(n: u64, size: u64) -> PackEntry {
    PackEntry { hash: samples::hash(n), size }
}

proptest! {
    #[test]
    fn lists_come_back(packs in prop::collection::vec((0u64..60, any::<u64>()), 0..80)) {
        let sizes: std::collections::BTreeMap<u64, u64> = packs.iter().copied().collect();
        let mut entries: Vec<_> = packs.iter().map(|(n, _)| entry(*n, sizes[n])).collect();
        let bytes = to_bytes(&mut entries).unwrap();
        prop_assert_eq!(entries.len(), sizes.len());
        prop_assert_eq!(&from_bytes(&bytes).unwrap(), &entries);
        prop_assert_eq!(to_bytes(&mut entries).unwrap(), bytes);
    }

    #[test]
    fn a_list_has_one_spelling(flips in prop::collection::vec((any::<prop::sample::Index>(), "[0-9a-f \n\r+-]"), 0..4)) {
        let mut text = String::from_utf8(to_bytes(&mut vec![entry(1, 5), entry(2, 70), entry(3, 0)]).unwrap()).unwrap();
        for (at, letter) in flips {
            let at = at.index(text.len());
            text.replace_range(at..=at, &letter);
        }
        if let Ok(mut packs) = from_bytes(text.as_bytes()) {
            prop_assert_eq!(to_bytes(&mut packs).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn bitmaps_come_back(bits in prop::collection::vec(any::<bool>(), 0..200)) {
        let mut bitmap = Bitmap::none(bits.len());
        bits.iter().enumerate().filter(|(_, bit)| **bit).for_each(|(i, _)| bitmap.set(i));
        let found = Bitmap::from_text(&bitmap.to_text(), bits.len()).unwrap();
        prop_assert_eq!(&found, &bitmap);
        prop_assert!(bits.iter().enumerate().all(|(i, bit)| found.get(i) == *bit));
        prop_assert!(!found.get(bits.len()) && !found.get(usize::MAX));
    }
}

#[test]
fn lists_that_are_refused() {
    let (a, b) = (samples::hash(1).to_string(), samples::hash(2).to_string());
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    assert_eq!(from_bytes(b"").unwrap(), []);
    assert_eq!(from_bytes(format!("{a} 1\n{b} 18446744073709551615\n").as_bytes()).unwrap().len(), 2);
    let refused = [
        format!("{a} 1\n{b} 2"),
        format!("{b} 1\n{a} 2\n"),
        format!("{a} 1\n{a} 1\n"),
        format!("{a} 1\n{a} 2\n"),
        format!("{a} 1\r\n"),
        format!("{a}  1\n"),
        format!("{a} 1 \n"),
        format!("{a} +1\n"),
        format!("{a} -1\n"),
        format!("{a} 01\n"),
        format!("{a} \n"),
        format!("{a}\n"),
        format!("{a} 18446744073709551616\n"),
        format!("{} 1\n", a.to_uppercase()),
        format!("\n{a} 1\n"),
        format!("{a} 1\n\n"),
        "\n".into(),
        "é 1\n".into(),
    ];
    for text in refused {
        assert!(from_bytes(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(from_bytes(&[0xff, b'\n']).is_err());
}

#[test]
fn a_pack_has_one_size() {
    assert!(to_bytes(&mut vec![entry(1, 5), entry(2, 5), entry(1, 6)]).is_err());
    assert_eq!(
        from_bytes(&to_bytes(&mut vec![entry(1, 5), entry(2, 5), entry(1, 5)]).unwrap()).unwrap().len(),
        2
    );
}

#[test]
fn bitmaps_that_do_not_fit() {
    assert_eq!(Bitmap::all(9).to_text(), "/wE=");
    assert!((0..9).all(|i| Bitmap::from_text("/wE=", 9).unwrap().get(i)));
    for (text, len) in [
        ("/wE=", 8),
        ("/wE=", 17),
        ("/wM=", 9),
        ("", 1),
        ("/w==", 7),
        ("/wE", 9),
        ("!", 0),
        ("/wE=", usize::MAX),
    ] {
        assert!(Bitmap::from_text(text, len).is_err(), "{text} over {len}");
    }
    assert!(Bitmap::from_text("", 0).is_ok());
}
