//! Classes of priority: names for priorities, which an operator gives to all at once.
//!
//! A class is looked up where a job is taken in or steered, and the job keeps the number, as with
//! Kubernetes' `PriorityClass`: to give a class another number moves no job that is there already.

use super::{ClusterConfig, ConfigError, check};
use crate::limit;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// The classes with their priorities; no two have the same.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PriorityClasses(pub BTreeMap<String, i32>);

/// A name that is no class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no priority class `{asked}`; {there}")]
pub struct UnknownClass {
    asked: String,
    there: String,
}

impl PriorityClasses {
    /// The priority of a class.
    ///
    /// # Errors
    /// Where there is none of that name: which there are.
    pub fn find(&self, name: &str) -> Result<i32, UnknownClass> {
        self.0.get(name).copied().ok_or_else(|| UnknownClass {
            asked: name.chars().take(limit::PRIORITY_CLASS_NAME_MAX).collect(),
            there: match self.0.is_empty() {
                true => "the cluster has none; give a whole number".into(),
                false => format!("there are {self}"),
            },
        })
    }

    /// The class of a priority.
    #[must_use]
    pub fn named(&self, priority: i32) -> Option<&str> {
        self.0.iter().find(|(_, of)| **of == priority).map(|(name, _)| name.as_str())
    }

    /// All, the highest first.
    pub fn descending(&self) -> impl Iterator<Item = (&str, i32)> {
        let mut all: Vec<_> = self.0.iter().map(|(name, of)| (name.as_str(), *of)).collect();
        all.sort_by_key(|(name, of)| (std::cmp::Reverse(*of), *name));
        all.into_iter()
    }
}

impl fmt::Display for PriorityClasses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.descending().map(|(name, of)| format!("`{name}` ({of})")).collect();
        f.write_str(&all.join(", "))
    }
}

/// A priority as somebody writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A number: the higher goes first.
    Number(i32),
    /// The name of a class.
    Class(String),
}

impl Priority {
    /// The number that it stands for.
    ///
    /// # Errors
    /// When there is no such class.
    pub fn resolve(&self, classes: &PriorityClasses) -> Result<i32, UnknownClass> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Class(name) => classes.find(name),
        }
    }

    /// The class that it names.
    #[must_use]
    pub fn class(&self) -> Option<&str> {
        match self {
            Self::Number(_) => None,
            Self::Class(name) => Some(name),
        }
    }
}

/// A text that is no priority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is neither a whole number from {} to {} nor the name of a priority class",
    i32::MIN,
    i32::MAX
)]
pub struct NoPriority;

impl FromStr for Priority {
    type Err = NoPriority;

    fn from_str(text: &str) -> Result<Self, NoPriority> {
        match text.parse() {
            Ok(number) => Ok(Self::Number(number)),
            Err(_) if is_name(text) => Ok(Self::Class(text.to_owned())),
            Err(_) => Err(NoPriority),
        }
    }
}

/// Whether a text may name a class: nothing that somebody could mean as a number.
fn is_name(text: &str) -> bool {
    let begins = text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    begins && check::is_word(text) && text.len() <= limit::PRIORITY_CLASS_NAME_MAX
}

impl ClusterConfig {
    pub(super) fn check_classes(&self) -> Result<(), ConfigError> {
        let PriorityClasses(classes) = &self.priority_classes;
        let field = |name: &str, fault: String, remedy: &str| {
            let field = if name.is_empty() { String::new() } else { format!(".{name}") };
            Err(check::field("", &format!("priority_classes{field}"), fault, remedy))
        };
        if classes.len() > limit::PRIORITY_CLASSES_MAX {
            let fault = format!("names {} classes", classes.len());
            return field("", fault, "name at most 64");
        }
        let mut by_priority = BTreeMap::new();
        for (name, priority) in classes {
            if !is_name(name) {
                let remedy =
                    "begin with a letter; use at most 64 letters, digits, `.`, `_` and `-`";
                return field(name, "is not the name of a class".into(), remedy);
            }
            if let Some(other) = by_priority.insert(priority, name) {
                let fault = format!("is {priority}, as `{other}` is");
                return field(name, fault, "give it another priority, or leave one of them out");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(all: &[(&str, i32)]) -> PriorityClasses {
        PriorityClasses(all.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect())
    }

    #[test]
    fn a_priority_is_a_number_or_the_name_of_a_class() {
        for (text, number, class) in [
            ("5", Some(5), None),
            ("-3", Some(-3), None),
            ("urgent", None, Some("urgent")),
            ("p1.low_a-b", None, Some("p1.low_a-b")),
            ("1e3", None, None),
            ("1.5", None, None),
            ("2147483648", None, None),
            ("-2147483649", None, None),
            ("-urgent", None, None),
            ("very urgent", None, None),
            ("", None, None),
        ] {
            let read: Option<Priority> = text.parse().ok();
            let expected = match (number, class) {
                (Some(number), _) => Some(Priority::Number(number)),
                (None, class) => class.map(|name| Priority::Class(name.to_owned())),
            };
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn a_class_stands_for_its_number_and_a_stranger_is_told_which_there_are() {
        let all = classes(&[("batch", -10), ("normal", 0), ("urgent", 80)]);
        assert_eq!(all.find("urgent"), Ok(80));
        assert_eq!((all.named(-10), all.named(7)), (Some("batch"), None));
        let none = all.find("urgnt").unwrap_err().to_string();
        assert_eq!(
            none,
            "there is no priority class `urgnt`; there are `urgent` (80), `normal` (0), `batch` \
             (-10)"
        );
        let empty = classes(&[]).find("urgent").unwrap_err().to_string();
        assert!(empty.ends_with("the cluster has none; give a whole number"), "{empty}");
    }

    #[test]
    fn classes_have_names_that_are_no_numbers_and_each_its_own_priority() {
        for (all, fault) in [
            (classes(&[("a", 1), ("b", 2)]), None),
            (classes(&[("7", 1)]), Some("priority_classes.7 is not the name of a class")),
            (classes(&[("a b", 1)]), Some("priority_classes.a b is not the name of a class")),
            (classes(&[("a", 1), ("b", 1)]), Some("priority_classes.b is 1, as `a` is")),
        ] {
            let config = ClusterConfig { priority_classes: all, ..ClusterConfig::default() };
            let found = config.check().err().map(|fault| fault.to_string());
            match (found, fault) {
                (found, None) => assert_eq!(found, None),
                (found, Some(fault)) => {
                    assert!(found.as_ref().is_some_and(|it| it.contains(fault)), "{found:?}");
                }
            }
        }
        let many = (0..65).map(|number| (format!("c{number}"), number)).collect();
        let config =
            ClusterConfig { priority_classes: PriorityClasses(many), ..ClusterConfig::default() };
        let fault = config.check().unwrap_err().to_string();
        assert!(fault.contains("priority_classes names 65 classes"), "{fault}");
    }
}
