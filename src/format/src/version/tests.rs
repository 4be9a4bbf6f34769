use super::*;

#[test]
fn versions_are_told_before_anything_else() {
    check("a thing", br#"{"fardel":1,"x":[{}]}"#, 1).unwrap();
    let newer = check("a thing", br#"{"x":[{}],"fardel":2}"#, 1).unwrap_err();
    assert_eq!(newer, Error::Version { what: "a thing", found: 2, known: 1 });
    assert!(newer.to_string().contains("use a newer fardel"));
    for bad in [
        "",
        "{}",
        "[]",
        "1",
        r#"{"fardel":-1}"#,
        r#"{"fardel":"1"}"#,
        r#"{"fardel":1,"fardel":1}"#,
        r#"{"fardel":1}x"#,
    ] {
        assert!(matches!(check("a thing", bad.as_bytes(), 1), Err(Error::Damaged { .. })), "{bad}");
    }
}
