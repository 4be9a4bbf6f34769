//! `${NAME}` in a value of the configuration, taken from the environment.

/// The text with every `${NAME}` replaced; `$${` stands for `${` itself, and any other `$` for itself.
///
/// # Errors
/// When a variable is not set, or a `${` has no end: an empty value in its place could name another folder.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$${") {
            out.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let (name, after) = after
                .split_once('}')
                .ok_or("a `${` without its `}`; write `$${` for the characters themselves")?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(format!(
                    "`${{{name}}}` names no environment variable; write `$${{` for the characters themselves"
                ));
            }
            out.push_str(&lookup(name).ok_or_else(|| format!("the environment variable {name} is not set"))?);
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        matches!(name, "HOME" | "A_1").then(|| format!("<{name}>"))
    }

    #[test]
    fn replaces_names_and_nothing_else() {
        let table = [
            ("plain", "plain"),
            ("${HOME}/x/${A_1}", "<HOME>/x/<A_1>"),
            ("$HOME costs $5 $", "$HOME costs $5 $"),
            ("$${HOME}", "${HOME}"),
            ("$$ ${HOME}", "$$ <HOME>"),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, lookup).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_missing_variable_is_an_error_and_never_empty() {
        for text in ["${NOPE}/x", "${HOME", "${}", "${A-B}"] {
            assert!(expand(text, lookup).is_err(), "{text}");
        }
    }
}
