//! Answers that a device gives in parts: one with a `set-id`, and the rest by `get-next`.

use std::collections::{BTreeMap, VecDeque};

use turnup_netconf::message::{ErrorTag, ErrorType, Reply, RpcError};
use turnup_netconf::xml::Element;

use crate::datastore::{Errors, SessionId};
use crate::personality::Personality;

/// Answers of which a rest is kept; beyond that, the oldest are forgotten.
const MAX_KEPT: usize = 64;

/// The rests of answers.
#[derive(Debug, Default)]
pub(super) struct Replies {
    last: u64,
    rests: BTreeMap<u64, (SessionId, VecDeque<Element>)>,
}

impl Replies {
    /// The answer with this `<data>`, or its first part.
    pub(super) fn first(&mut self, session: SessionId, data: Element, personality: &Personality) -> Reply {
        let Some(most) = personality.entries_per_reply else { return Reply::with_content([data]) };
        let mut parts: VecDeque<Element> = split(&data, most.max(1)).into();
        let Some(first) = parts.pop_front().filter(|_| !parts.is_empty()) else {
            return Reply::with_content([data]);
        };
        self.last += 1;
        self.rests.insert(self.last, (session, parts));
        while self.rests.len() > MAX_KEPT {
            self.rests.pop_first();
        }
        part(first, self.last)
    }

    /// The next part of an answer; the last one has no `set-id`.
    pub(super) fn next(&mut self, session: SessionId, set: u64) -> Result<Reply, Errors> {
        let known = self.rests.get_mut(&set).filter(|(owner, _)| *owner == session);
        let Some(next) = known.and_then(|(_, rest)| rest.pop_front()) else {
            let error = RpcError::new(ErrorType::Protocol, ErrorTag::InvalidValue);
            return Err(vec![error.with_message(format!("there is no set {set}"))]);
        };
        if self.rests.get(&set).is_some_and(|(_, rest)| rest.is_empty()) {
            self.rests.remove(&set);
            return Ok(Reply::with_content([next]));
        }
        Ok(part(next, set))
    }

    /// The session has ended.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.rests.retain(|_, (owner, _)| *owner != session);
    }
}

fn part(data: Element, set: u64) -> Reply {
    Reply::with_content([data]).with_attribute("set-id", set.to_string())
}

/// The parts of `<data>`, each with at most `most` entries below its top nodes.
fn split(data: &Element, most: usize) -> Vec<Element> {
    let bare = |element: &Element| {
        let mut bare = Element::new(element.namespace_shared(), element.name());
        for attribute in element.attributes() {
            bare.set_attribute_ns(
                attribute.namespace.clone(),
                attribute.name.clone(),
                attribute.value.clone(),
            );
        }
        bare
    };
    let mut parts = Vec::new();
    let (mut part, mut entries) = (bare(data), 0);
    for top in data.children() {
        let mut begun = bare(top);
        for entry in top.children() {
            if entries == most {
                if !begun.is_empty() {
                    part.push(std::mem::replace(&mut begun, bare(top)));
                }
                parts.push(std::mem::replace(&mut part, bare(data)));
                entries = 0;
            }
            begun.push(entry.clone());
            entries += 1;
        }
        part.push(begun);
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId { boot: 0, number: 1 };

    fn data(entries: usize) -> Element {
        let entry = |n: usize| Element::new("urn:t", "entry").with_text(n.to_string());
        let top = |from| Element::new("urn:t", "top").with_children((from..from + entries).map(entry));
        Element::base("data").with_children([top(0), top(entries)])
    }

    fn texts(reply: &Reply) -> Vec<String> {
        let tops = reply.data().unwrap().children();
        tops.flat_map(Element::children).map(|entry| entry.text().into_owned()).collect()
    }

    #[test]
    fn parts_are_whole_together_and_the_last_has_no_set_id() {
        let personality = Personality { entries_per_reply: Some(3), ..Personality::DEFAULT };
        let mut replies = Replies::default();
        let first = replies.first(SESSION, data(4), &personality);
        assert_eq!(first.attribute("set-id"), Some("1"));
        let mut seen = texts(&first);
        let second = replies.next(SESSION, 1).unwrap();
        seen.extend(texts(&second));
        let last = replies.next(SESSION, 1).unwrap();
        assert_eq!((second.attribute("set-id"), last.attribute("set-id")), (Some("1"), None));
        seen.extend(texts(&last));
        assert_eq!(seen, (0..8).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(replies.next(SESSION, 1).is_err());
    }

    #[test]
    fn small_answer_comes_whole_and_rests_end_with_their_session() {
        let personality = Personality { entries_per_reply: Some(8), ..Personality::DEFAULT };
        let mut replies = Replies::default();
        assert_eq!(replies.first(SESSION, data(4), &personality).attribute("set-id"), None);
        assert_eq!(replies.first(SESSION, data(5), &personality).attribute("set-id"), Some("1"));
        assert!(replies.next(SessionId { number: 2, ..SESSION }, 1).is_err());
        replies.forget(SESSION);
        assert!(replies.next(SESSION, 1).is_err());
    }
}
