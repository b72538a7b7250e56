//! The exit codes, one meaning each.

use std::process::ExitCode;

/// How a command ended, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went as asked.
    Ok,
    /// A fault of Assay itself.
    Internal,
    /// The command line or a file given with it is wrong.
    Usage,
    /// The cluster said no: policy, quota, impossible, wrong state.
    Refused,
    /// What was named does not exist.
    NotFound,
    /// Nobody answered; the same command may be repeated without harm.
    Unavailable,
    /// The identity may not do this.
    NotAuthorised,
    /// A proof or a comparison did not hold.
    Mismatch,
    /// `--timeout` was reached.
    Timeout,
    /// Detached by Ctrl-C; the job runs on.
    Detached,
    /// The job's own code, or 128 + n where signal n ended it.
    Job(u8),
}

impl Exit {
    /// The code of the process.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::NotFound => 4,
            Self::Unavailable => 5,
            Self::NotAuthorised => 6,
            Self::Mismatch => 7,
            Self::Timeout => 124,
            Self::Detached => 130,
            Self::Job(code) => code,
        }
    }

    /// The code for a job that a signal ended.
    #[must_use]
    pub fn of_signal(signal: i32) -> Self {
        Self::Job(u8::try_from(128 + signal).unwrap_or(u8::MAX))
    }

    /// The code for a job that ended with `code`; what does not fit a byte becomes 1.
    #[must_use]
    pub fn of_job(code: i32) -> Self {
        Self::Job(u8::try_from(code).unwrap_or(1))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ending_has_the_documented_code() {
        let table = [
            (Exit::Ok, 0),
            (Exit::Internal, 1),
            (Exit::Usage, 2),
            (Exit::Refused, 3),
            (Exit::NotFound, 4),
            (Exit::Unavailable, 5),
            (Exit::NotAuthorised, 6),
            (Exit::Mismatch, 7),
            (Exit::Timeout, 124),
            (Exit::Detached, 130),
            (Exit::of_job(17), 17),
            (Exit::of_job(-1), 1),
            (Exit::of_signal(9), 137),
            (Exit::of_signal(15), 143),
        ];
        for (exit, code) in table {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }
}
