//! What is said to a device and what it answers, as it is kept for people: without secrets, and not too much
//! of it.

use std::borrow::Cow;

use jiff::Timestamp;
use turnup_core::{
    name::DeviceName,
    transcript::{DeviceTranscript, Exchange, Recording, Rpc},
};
use turnup_netconf::{
    message::Reply,
    namespace,
    operation::Operation,
    ssh::RpcFailure,
    xml::{Element, Node},
};

use crate::secrets::Secrets;

/// Stands for a secret.
const MASK: &str = "***";
/// A word at least so long is a secret's name wherever it stands in a name; a shorter one must be a part of
/// it, or its end: `authentication-key`, `presharedkey`, but not `keyword`.
const LONG_WORD: usize = 5;
/// A secret shorter than this is not looked for in other texts: it would be found everywhere.
const SHORTEST_SECRET: usize = 4;
/// Most secrets looked for in other texts.
const MAX_SECRETS: usize = 64;

/// Which names are those of secrets.
#[derive(Debug, Clone, Default)]
pub(crate) struct SecretNames(Vec<String>);

impl SecretNames {
    pub(crate) fn new(words: &[String]) -> Self {
        Self(words.iter().map(|word| word.to_lowercase()).collect())
    }

    /// Whether an element or attribute with this local name holds a secret.
    fn has(&self, name: &str) -> bool {
        let lower = name.to_lowercase();
        let parts = || lower.split(['-', '_', '.']);
        self.0.iter().any(|word| {
            parts().any(|part| part == word)
                || lower.ends_with(word.as_str())
                || (word.len() >= LONG_WORD && lower.contains(word.as_str()))
        })
    }
}

/// Whether a value looks like a secret whatever its name: a hash of crypt(3), a vendor's obfuscation, a
/// private key.
fn looks_secret(text: &str) -> bool {
    let text = text.trim_start();
    let hash = text.strip_prefix('$').and_then(|rest| rest.split_once('$'));
    hash.is_some_and(|(scheme, _)| {
        (1..=8).contains(&scheme.len()) && scheme.chars().all(|c| c.is_ascii_alphanumeric())
    }) || text.contains("PRIVATE KEY-----")
}

/// Writes down what is said to one device.
#[derive(Debug)]
pub(crate) struct Scribe<'a> {
    names: &'a SecretNames,
    recording: Recording,
    /// Secrets seen so far: an answer may repeat them in a text of its own.
    secrets: Vec<Box<str>>,
    /// Those that the work names.
    known: Option<&'a Secrets>,
}

impl<'a> Scribe<'a> {
    /// For one of so many devices of a deployment.
    pub(crate) fn new(names: &'a SecretNames, devices: usize) -> Self {
        Self { names, recording: Recording::of_one_of(devices), secrets: Vec::new(), known: None }
    }

    /// The same, where these secrets are known.
    pub(crate) fn knowing(self, secrets: &'a Secrets) -> Self {
        Self { known: Some(secrets).filter(|secrets| secrets.are_known()), ..self }
    }

    /// A step that sends nothing.
    pub(crate) fn note(&mut self, step: &str, took_us: u64, note: String) {
        let note = self.scrub_note(note);
        self.add(step, took_us, Vec::new(), Some(note));
    }

    /// Requests that went out in one write, and what came of them.
    pub(crate) fn exchange(
        &mut self,
        step: &str,
        took_us: u64,
        operations: &[Operation],
        result: &Result<Vec<Reply>, RpcFailure>,
    ) {
        let (replies, note) = match result {
            Ok(replies) => (replies.as_slice(), None),
            Err(failure @ RpcFailure::NoAnswer { answered, .. }) => {
                (answered.as_slice(), Some(failure.to_string()))
            }
            Err(failure @ RpcFailure::NotSent { .. }) => (&[][..], Some(failure.to_string())),
        };
        let replaced: Vec<String> =
            replies.iter().flat_map(Reply::replaced).map(ToString::to_string).collect();
        let note = match replaced.is_empty() {
            true => note,
            false => Some(note.into_iter().chain(replaced).collect::<Vec<_>>().join("; ")),
        };
        let mut replies = replies.iter();
        let mut rpcs = Vec::with_capacity(operations.len());
        for operation in operations {
            let request = self.write(Cow::Borrowed(operation.element()));
            let reply = replies.next().map(|reply| self.write(Cow::Owned(reply.to_element(&[]))));
            rpcs.push(Rpc { request, reply });
        }
        let note = note.map(|note| self.scrub_note(note));
        self.add(step, took_us, rpcs, note);
    }

    fn add(&mut self, step: &str, took_us: u64, rpcs: Vec<Rpc>, note: Option<String>) {
        let (step, at) = (step.to_owned(), Timestamp::now());
        self.recording.add(Exchange { step, at, took_us, left_out_before: 0, rpcs, note });
    }

    /// What was written down.
    pub(crate) fn end(self, device: DeviceName) -> DeviceTranscript {
        self.recording.end(device)
    }

    fn write(&mut self, element: Cow<'_, Element>) -> String {
        // Most of what is said holds no secret, and is not copied to find that out.
        let text = if self.known.is_some() || self.holds_secret(&element) {
            let mut masked = element.into_owned();
            if let Some(known) = self.known {
                known.mask(&mut masked, MASK);
            }
            self.mask(&mut masked, false);
            masked.to_xml()
        } else {
            element.to_xml()
        };
        self.scrub(text)
    }

    fn holds_secret(&self, element: &Element) -> bool {
        self.names.has(element.name())
            || element.attributes().iter().any(|attribute| self.names.has(&attribute.name))
            || element.nodes().iter().any(|node| match node {
                Node::Element(child) => self.holds_secret(child),
                Node::Text(text) => looks_secret(text),
            })
    }

    /// Masks every value in `element` if it is secret `all` through, else what is secret by its name.
    fn mask(&mut self, element: &mut Element, all: bool) {
        let all = all || self.names.has(element.name());
        let attributes = element.attributes().iter();
        // What an edit does (`operation`) is no secret, even if it is done to one.
        let secret = attributes
            .filter(|a| self.names.has(&a.name) || (all && &*a.namespace != namespace::BASE))
            .map(|a| (a.namespace.clone(), a.name.clone(), a.value.clone()));
        for (of, name, value) in secret.collect::<Vec<_>>() {
            self.learn(&value);
            element.set_attribute_ns(of, name, MASK);
        }
        for node in element.nodes_mut() {
            match node {
                Node::Element(child) => self.mask(child, all),
                Node::Text(text) if (all && !text.trim().is_empty()) || looks_secret(text) => {
                    self.learn(text);
                    *text = MASK.into();
                }
                Node::Text(_) => {}
            }
        }
    }

    fn learn(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret == MASK {
            return;
        }
        let known = self.secrets.iter().any(|known| **known == *secret);
        if secret.len() >= SHORTEST_SECRET && !known && self.secrets.len() < MAX_SECRETS {
            self.secrets.push(secret.into());
        }
    }

    fn scrub_note(&self, note: String) -> String {
        let note = self.scrub(note);
        match self.known {
            Some(known) => known.clean(note),
            None => note,
        }
    }

    /// Takes secrets seen before out of a text, where an error message may have put them.
    fn scrub(&self, mut text: String) -> String {
        for secret in &self.secrets {
            if text.contains(&**secret) {
                text = text.replace(&**secret, MASK);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use turnup_netconf::{
        message::{ErrorTag, ErrorType, RpcError},
        operation::{Datastore, EditConfig},
        ssh::Cause,
        xml::{Limits, parse_str},
    };

    use super::*;
    use crate::Settings;

    fn names() -> SecretNames {
        SecretNames::new(&Settings::default().secret_names)
    }

    fn edit(xml: &str) -> Operation {
        let config = parse_str(xml, &Limits::default()).unwrap();
        Operation::edit_config(EditConfig::new(Datastore::Candidate, [config]))
    }

    fn written(operation: Operation, reply: Reply) -> Rpc {
        let names = names();
        let mut scribe = Scribe::new(&names, 1);
        scribe.exchange("edit-config", 5, &[operation], &Ok(vec![reply]));
        let mut kept = scribe.end(DeviceName::new("d").unwrap());
        kept.exchanges.remove(0).rpcs.remove(0)
    }

    #[test]
    fn names_of_secrets_are_recognized() {
        let names = names();
        for secret in [
            "password",
            "encrypted-password",
            "Password",
            "cleartextPassword",
            "authentication-key",
            "key",
            "md5",
            "community",
            "snmp-community",
            "sharedSecret",
            "pre_shared_key",
            "presharedkey",
            "md5-key",
            "auth-pass-phrase",
            "private-data",
            "psk",
        ] {
            assert!(names.has(secret), "{secret}");
        }
        for harmless in ["name", "mtu", "keyword", "keepalive", "description", "hostname", "md5sum-check"] {
            assert!(!names.has(harmless), "{harmless}");
        }
    }

    #[test]
    fn secrets_are_masked_in_elements_attributes_and_answers() {
        let rpc = written(
            edit(
                r#"<bgp xmlns="urn:x"><neighbor xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0" nc:operation="merge" auth-key="attr-s3cret"><name>192.0.2.1</name><authentication-key nc:operation="replace">tops3cret</authentication-key><key-chain><id>7</id></key-chain><user>$9$abcdef/x</user></neighbor></bgp>"#,
            ),
            Reply::with_errors([RpcError::new(ErrorType::Application, ErrorTag::InvalidValue)
                .with_message("'tops3cret' is too short")]),
        );
        for secret in ["tops3cret", "attr-s3cret", "abcdef", ">7<"] {
            assert!(!format!("{rpc:?}").contains(secret), "{secret} in {rpc:?}");
        }
        assert!(rpc.request.contains("192.0.2.1") && rpc.request.contains("***"), "{}", rpc.request);
        assert!(rpc.request.contains("operation=\"replace\""), "{}", rpc.request);
        assert!(rpc.reply.unwrap().contains("'***' is too short"));
    }

    #[test]
    fn what_holds_no_secret_is_written_as_it_is() {
        let operation = edit(r#"<x xmlns="urn:x"><name>a &amp; b</name><mtu>1500</mtu></x>"#);
        let wanted = operation.element().to_xml();
        let rpc = written(operation, Reply::ok());
        assert_eq!(rpc.request, wanted);
        assert!(rpc.reply.unwrap().contains("ok"));
    }

    #[test]
    fn a_request_without_answer_says_why() {
        let names = names();
        let mut scribe = Scribe::new(&names, 1);
        let silence = RpcFailure::NoAnswer { cause: Cause::Deadline, answered: vec![Reply::ok()], sent: 2 };
        scribe.exchange("commit", 5, &[Operation::commit(), Operation::commit()], &Err(silence));
        scribe.note("connect", 7, "refused".to_owned());
        let kept = scribe.end(DeviceName::new("d").unwrap());
        let [commit, connect] = &kept.exchanges[..] else { panic!("{kept:?}") };
        assert!(commit.rpcs[0].reply.is_some() && commit.rpcs[1].reply.is_none());
        assert!(commit.note.as_ref().unwrap().contains("the deadline passed"));
        assert_eq!((connect.note.as_deref(), connect.rpcs.len()), (Some("refused"), 0));
    }
}
