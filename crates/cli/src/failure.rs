//! How a command ends: exit codes that scripts can rely on.

use serde_json::{Value, json};
use turnup_core::problem::Problem;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It ran, and failed. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The command itself makes no sense. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Refused: the state or the rights don't allow it. Exit code 3.
    #[error("{0}")]
    Refused(String),
    /// A server can't be reached. Exit code 4.
    #[error("{0}")]
    Unreachable(String),
    /// The intake said no, and why. The exit code is that of its status.
    #[error("{}", describe(.0))]
    Problem(Box<Problem>),
}

impl Failure {
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::Unreachable(_) => 4,
            Self::Problem(problem) => match problem.status {
                401 | 403 | 409 => 3,
                503 | 504 => 4,
                _ => 1,
            },
        }
    }

    /// For programs: what went wrong, the exit code, and the intake's problem, if it said no.
    pub(crate) fn json(&self) -> Value {
        let mut value = json!({"error": self.to_string(), "exit_code": self.exit_code()});
        if let Self::Problem(problem) = self {
            value["problem"] = json!(problem);
        }
        value
    }

    /// Whether the intake said this, by the problem's stable code.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        matches!(self, Self::Problem(problem) if problem.code == code)
    }
}

/// A problem in words: the detail, each fault with its place, what would be legal.
pub(crate) fn describe(problem: &Problem) -> String {
    let mut text = problem.title.clone();
    // The detail of a single fault is the fault's own; it is said once.
    if !matches!(problem.errors.as_slice(), [one] if one.detail == problem.detail) {
        text.push_str(&format!(": {}", problem.detail));
    }
    for fault in &problem.errors {
        match fault.pointer.as_str() {
            "" => text.push_str(&format!("\n  {}", fault.detail)),
            place => text.push_str(&format!("\n  {place}: {}", fault.detail)),
        }
    }
    if !problem.legal.is_empty() {
        text.push_str(&format!("\n  legal now: {}", problem.legal.join(", ")));
    }
    text
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<turnup_store::StoreError> for Failure {
    fn from(error: turnup_store::StoreError) -> Self {
        if error.is_transient() {
            Self::Unreachable(error.to_string())
        } else {
            Self::Failed(error.to_string())
        }
    }
}

impl From<turnup_broker::BrokerError> for Failure {
    fn from(error: turnup_broker::BrokerError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnup_core::problem::Fault;

    #[test]
    fn a_single_fault_is_said_once() {
        let one = Fault::new("/kind", "missing", "say what is asked for");
        let text = describe(&Problem::invalid(vec![one.clone()]));
        assert_eq!(text, "The request has faults\n  /kind: say what is asked for");
        let text = describe(&Problem::invalid(vec![one.clone(), one]));
        assert!(text.starts_with("The request has faults: 2 faults, see errors\n"), "{text}");
    }

    #[test]
    fn failure_for_programs_has_the_problem() {
        let failure = Failure::from(Problem::conflict("it is Completed", vec!["recreate".to_owned()]));
        let json = failure.json();
        assert_eq!((&json["exit_code"], &json["problem"]["code"]), (&json!(3), &json!("conflict")));
        assert_eq!(json["problem"]["legal"], json!(["recreate"]));
        assert_eq!(Failure::Usage("x".to_owned()).json(), json!({"error": "x", "exit_code": 2}));
    }

    #[test]
    fn exit_codes_of_the_intakes_answers() {
        let coded = |status| Failure::from(Problem { status, ..Problem::internal("") }).exit_code();
        for (status, code) in [(400, 1), (401, 3), (403, 3), (404, 1), (409, 3), (422, 1), (503, 4), (504, 4)]
        {
            assert_eq!(coded(status), code, "{status}");
        }
    }
}
