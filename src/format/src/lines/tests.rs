use proptest::prelude::*;

use super::*;

#[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
struct Holder {
    #[serde(with = "big")]
    number: u64,
}

proptest! {
    #[test]
    fn numbers_come_back(number in any::<u64>()) {
        let json = serde_json::to_string(&Holder { number }).unwrap();
        prop_assert_eq!(json.contains(":\""), number > SAFE_INTEGER);
        prop_assert_eq!(serde_json::from_str::<Holder>(&json).unwrap(), Holder { number });
    }

    #[test]
    fn moments_come_back(secs in any::<i64>(), nanos in 0u32..1_000_000_000) {
        let moment = Moment { secs, nanos };
        prop_assert_eq!(moment.to_string().parse::<Moment>().unwrap(), moment);
    }

    #[test]
    fn a_moment_has_one_spelling(text in "[+-]?[0-9]{0,4}\\.?[0-9]{0,10}") {
        if let Ok(moment) = text.parse::<Moment>() {
            prop_assert_eq!(moment.to_string(), text);
        }
    }

    #[test]
    fn base64_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(from_base64("bytes", &base64(&bytes)).unwrap(), bytes);
    }
}

#[test]
fn the_border_of_safe_integers() {
    let text = |number| serde_json::to_string(&Holder { number }).unwrap();
    assert_eq!(text(SAFE_INTEGER), r#"{"number":9007199254740992}"#);
    assert_eq!(text(SAFE_INTEGER + 1), r#"{"number":"9007199254740993"}"#);
    for bad in
        ["-1", "1.5", "\"+1\"", "\"01\"", "\"\"", "\"18446744073709551616\"", "null", "[1]", "1e3", "\" 1\""]
    {
        assert!(serde_json::from_str::<Holder>(&format!("{{\"number\":{bad}}}")).is_err(), "{bad}");
    }
}

#[test]
fn moments_count_forward() {
    // Half a second before 1970.
    assert_eq!(Moment { secs: -1, nanos: 500_000_000 }.to_string(), "-1.500000000");
    assert_eq!("0.000000001".parse::<Moment>().unwrap(), Moment { secs: 0, nanos: 1 });
    for bad in [
        "",
        "1",
        "1.",
        ".000000000",
        "1.5",
        "1.0000000000",
        "+1.000000000",
        "01.000000000",
        "-0.000000000",
        "-.000000000",
        "1.00000000a",
        "9223372036854775808.000000000",
    ] {
        assert!(bad.parse::<Moment>().is_err(), "{bad}");
    }
    assert!("-9223372036854775808.999999999".parse::<Moment>().is_ok());
}

#[test]
fn plain_numbers() {
    assert_eq!(parse_u64("0"), Some(0));
    assert_eq!(parse_u64("18446744073709551615"), Some(u64::MAX));
    for bad in ["", "+0", "-0", "00", "01", "1 ", "18446744073709551616", "é", "٣"] {
        assert_eq!(parse_u64(bad), None, "{bad}");
    }
}
