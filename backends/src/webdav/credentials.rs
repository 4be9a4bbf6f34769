use crate::Secret;

/// What a server is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// A user's name and password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Bearer(Secret),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let basic = Credentials::Basic { user: "ann".into(), password: Secret::from("hunter2".to_owned()) };
        assert!(!format!("{basic:?}").contains("hunter2"));
        assert!(
            !format!("{:?}", Credentials::Bearer(Secret::from("hunter2".to_owned()))).contains("hunter2")
        );
    }
}
