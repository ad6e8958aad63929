//! Query parameters: unknown, repeated and unreadable ones are refused by name.

use std::fmt::Display;

use axum::http::Uri;
use jiff::Timestamp;
use turnup_core::{problem::Problem, time::Time};

/// Default and greatest number of items of a page.
const PAGE: i64 = 100;
const MAX_PAGE: i64 = 1_000;
/// Most parameters.
const MAX_PARAMETERS: usize = 64;

/// The parameters of a request.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the parameters; all must be among `known`.
    pub(crate) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let axum::extract::Query(given) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::unreadable("the query is not of the form name=value&name=value"))?;
        if given.len() > MAX_PARAMETERS {
            return Err(Problem::unreadable(format!("at most {MAX_PARAMETERS} query parameters")));
        }
        for (name, value) in &given {
            if !known.contains(&name.as_str()) {
                let name: String = name.chars().take(64).collect();
                let hint = if known.is_empty() { "none is".to_owned() } else { known.join(", ") };
                return Err(Problem::unreadable(format!(
                    "unknown query parameter {name:?}; known here: {hint}"
                )));
            }
            if value.chars().any(char::is_control) {
                return Err(Problem::unreadable(format!("query parameter {name} has a control character")));
            }
        }
        Ok(Self(given))
    }

    /// The text of a parameter.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        let mut found = self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Problem::unreadable(format!("query parameter {name} is there twice"))),
            (value, None) => Ok(value.cloned()),
        }
    }

    /// A parameter as something else than text.
    pub(crate) fn parsed<T>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T: std::str::FromStr,
        T::Err: Display,
    {
        self.text(name)?.map(|text| parse(name, &text)).transpose()
    }

    /// A parameter as a time.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        Ok(self.parsed::<Time>(name)?.map(|time| time.0))
    }

    /// All values of a parameter that may be repeated, or list values with commas.
    pub(crate) fn list<T>(&self, name: &str) -> Result<Vec<T>, Problem>
    where
        T: std::str::FromStr,
        T::Err: Display,
    {
        let values = self.0.iter().filter(|(given, _)| given == name);
        values.flat_map(|(_, value)| value.split(',')).map(|text| parse(name, text)).collect()
    }

    /// `limit`: 1 to 1000, 100 if not given.
    pub(crate) fn limit(&self) -> Result<i64, Problem> {
        match self.parsed::<i64>("limit")? {
            None => Ok(PAGE),
            Some(limit) if (1..=MAX_PAGE).contains(&limit) => Ok(limit),
            Some(_) => {
                Err(Problem::unreadable(format!("query parameter limit is a number from 1 to {MAX_PAGE}")))
            }
        }
    }
}

fn parse<T>(name: &str, text: &str) -> Result<T, Problem>
where
    T: std::str::FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| Problem::unreadable(format!("query parameter {name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnup_core::lifecycle::OrderState;

    fn query(text: &str) -> Result<Query, Problem> {
        Query::read(&format!("/v1/orders?{text}").parse().unwrap(), &["state", "limit", "region"])
    }

    #[test]
    fn parameters_are_read() {
        let read = query("state=requested,invalid&state=cancelled&region=eu%2Dwest").unwrap();
        let states: Vec<OrderState> = read.list("state").unwrap();
        assert_eq!(states, [OrderState::Requested, OrderState::Invalid, OrderState::Cancelled]);
        assert_eq!(read.text("region").unwrap().as_deref(), Some("eu-west"));
        assert_eq!(read.limit().unwrap(), 100);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let problem = query("stat=requested").unwrap_err();
        assert_eq!(problem.status, 400);
        assert!(problem.detail.contains("\"stat\"") && problem.detail.contains("state, limit, region"));
        assert!(query("region=a%00b").is_err());
        assert!(query("region=a&region=b").unwrap().text("region").is_err());
        assert!(query("limit=0").unwrap().limit().is_err());
        assert!(query("limit=1001").unwrap().limit().is_err());
        assert!(
            query("state=done")
                .unwrap()
                .list::<OrderState>("state")
                .unwrap_err()
                .detail
                .contains("completed")
        );
    }
}
