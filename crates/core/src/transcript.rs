//! What was said to devices and what they answered: kept apart from reports, for people.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{id::DeploymentId, message::Body, name::DeviceName};

/// Most bytes of XML that are kept of one device in one deployment.
pub const MAX_DEVICE_BYTES: usize = 64 << 10;
/// Most bytes of XML that are kept of one deployment.
pub const MAX_DEPLOYMENT_BYTES: usize = 512 << 10;

/// What an attempt of a deployment and its devices said to each other. Travels beside the reports, on their
/// way; that it comes twice, or late, changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transcript {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The attempt.
    pub attempt: i32,
    /// Which worker it was.
    pub worker: String,
    /// When the attempt ended, by the worker's clock.
    pub at: Timestamp,
    /// Device by device.
    pub devices: Vec<DeviceTranscript>,
}

impl Body for Transcript {
    const SCHEMA: &'static str = "turnup.transcript.v1";
}

/// The same for one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceTranscript {
    /// The device.
    pub device: DeviceName,
    /// From the first to the last. Where some are left out, it is those in the middle.
    pub exchanges: Vec<Exchange>,
    /// How many are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
}

/// One or more requests sent in one write, and what came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The step that it belongs to, such as `connect`, `lock`, `edit-config`.
    pub step: String,
    /// When it was over.
    pub at: Timestamp,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// So many exchanges before this one are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out_before: u32,
    /// The requests with their answers. Empty for a step that sends none, such as `connect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rpcs: Vec<Rpc>,
    /// What there is to say beside it: why no answer came, the number of the session that was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A request and its answer as XML, without the envelope of the request. A long one is cut in its middle,
/// and says so there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rpc {
    /// The operation that was sent.
    pub request: String,
    /// The `rpc-reply`; none came if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Exchange {
    /// Bytes of all that it says.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rpcs: usize =
            self.rpcs.iter().map(|rpc| rpc.request.len() + rpc.reply.as_ref().map_or(0, String::len)).sum();
        self.step.len() + rpcs + self.note.as_ref().map_or(0, String::len)
    }

    /// Cuts its texts so that it has about `most` bytes at most.
    fn shorten(&mut self, most: usize) {
        if self.bytes() <= most {
            return;
        }
        let texts = self.rpcs.iter().map(|rpc| 1 + usize::from(rpc.reply.is_some())).sum::<usize>()
            + usize::from(self.note.is_some());
        let each = most / texts.max(1);
        for rpc in &mut self.rpcs {
            cut_middle(&mut rpc.request, each);
            rpc.reply.iter_mut().for_each(|reply| cut_middle(reply, each));
        }
        self.note.iter_mut().for_each(|note| cut_middle(note, each));
    }
}

/// Takes the middle out of a text with more than `most` bytes and says there how much it was.
fn cut_middle(text: &mut String, most: usize) {
    if text.len() <= most {
        return;
    }
    let (mut head, mut tail) = (most / 2, text.len() - most / 2);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    let note = format!(" <!-- {} bytes left out --> ", tail - head);
    text.replace_range(head..tail, &note);
}

/// Collects the exchanges with one device. Keeps the first and the last of them, about `most` bytes in all,
/// whatever comes.
#[derive(Debug)]
pub struct Recording {
    half: usize,
    first: Vec<Exchange>,
    first_bytes: usize,
    last: std::collections::VecDeque<Exchange>,
    last_bytes: usize,
    left_out: u32,
}

impl Recording {
    /// Keeps about `most` bytes of each of several devices, all of them together at most
    /// [`MAX_DEPLOYMENT_BYTES`].
    #[must_use]
    pub fn of_one_of(devices: usize) -> Self {
        Self::new(MAX_DEVICE_BYTES.min(MAX_DEPLOYMENT_BYTES / devices.max(1)))
    }

    /// Keeps about `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            half: most / 2,
            first: Vec::new(),
            first_bytes: 0,
            last: std::collections::VecDeque::new(),
            last_bytes: 0,
            left_out: 0,
        }
    }

    /// Adds what was said last.
    pub fn add(&mut self, mut exchange: Exchange) {
        exchange.shorten(self.half);
        let bytes = exchange.bytes();
        if self.last.is_empty() && self.left_out == 0 && self.first_bytes + bytes <= self.half {
            self.first_bytes += bytes;
            self.first.push(exchange);
            return;
        }
        self.last_bytes += bytes;
        self.last.push_back(exchange);
        while self.last_bytes > self.half && self.last.len() > 1 {
            if let Some(out) = self.last.pop_front() {
                self.last_bytes -= out.bytes();
                self.left_out = self.left_out.saturating_add(1);
            }
        }
    }

    /// What is kept.
    #[must_use]
    pub fn end(self, device: DeviceName) -> DeviceTranscript {
        let Self { mut first, mut last, left_out, .. } = self;
        if let Some(next) = last.front_mut() {
            next.left_out_before = left_out;
        }
        first.extend(last);
        DeviceTranscript { device, exchanges: first, left_out }
    }
}

impl Transcript {
    /// The message. What is too much for one (XML has many characters that JSON writes with two) is cut
    /// again, shorter.
    ///
    /// # Errors
    /// If it does not become small enough.
    pub fn fit(mut self) -> Result<Vec<u8>, crate::message::Unreadable> {
        let mut most = MAX_DEPLOYMENT_BYTES / self.devices.len().max(1);
        loop {
            match self.encode() {
                Err(crate::message::Unreadable::TooLarge(_)) if most > 64 => {
                    most /= 2;
                    for device in &mut self.devices {
                        let mut again = Recording::new(most);
                        let before = device.left_out;
                        for mut exchange in std::mem::take(&mut device.exchanges) {
                            exchange.left_out_before = 0;
                            again.add(exchange);
                        }
                        let mut kept = again.end(device.device.clone());
                        kept.left_out = kept.left_out.saturating_add(before);
                        *device = kept;
                    }
                }
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::message::{MAX_BYTES, Unreadable};

    fn exchange(n: usize, bytes: usize) -> Exchange {
        Exchange {
            step: format!("{n}"),
            at: Timestamp::UNIX_EPOCH,
            took_us: 1,
            left_out_before: 0,
            rpcs: vec![Rpc { request: "\"".repeat(bytes), reply: Some("y".to_owned()) }],
            note: None,
        }
    }

    fn name() -> DeviceName {
        DeviceName::new("d1").unwrap()
    }

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        let mut recording = Recording::new(1_000);
        (0..100).for_each(|n| recording.add(exchange(n, 97)));
        let kept = recording.end(name());
        let steps: Vec<&str> = kept.exchanges.iter().map(|exchange| exchange.step.as_str()).collect();
        assert_eq!(steps, ["0", "1", "2", "3", "4", "95", "96", "97", "98", "99"].map(|s| s));
        assert_eq!(kept.left_out, 90);
        assert_eq!(kept.exchanges[5].left_out_before, 90);
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        let mut recording = Recording::of_one_of(1);
        (0..9).for_each(|n| recording.add(exchange(n, 50)));
        let kept = recording.end(name());
        assert_eq!((kept.exchanges.len(), kept.left_out), (9, 0));
        assert_eq!(kept.exchanges[8], exchange(8, 50));
    }

    #[test]
    fn one_that_is_too_long_is_cut_in_its_middle() {
        let mut recording = Recording::new(1_000);
        let mut long = exchange(0, 0);
        long.rpcs[0].request = format!("<begin>{}ü{}</end>", "ä".repeat(5_000), "ö".repeat(5_000));
        recording.add(long);
        let kept = recording.end(name());
        let text = &kept.exchanges[0].rpcs[0].request;
        assert!(text.starts_with("<begin>ä") && text.ends_with("ö</end>") && text.len() < 400, "{text}");
        assert!(text.contains("bytes left out"), "{text}");
        assert_eq!(kept.left_out, 0);
    }

    #[test]
    fn many_devices_fit_into_one_message() {
        for devices in [1_u32, 8, 500] {
            let kept = |n: u32| {
                let mut recording = Recording::of_one_of(devices as usize);
                (0..100).for_each(|n| recording.add(exchange(n, 1_000)));
                recording.end(DeviceName::new(format!("d{n}")).unwrap())
            };
            let transcript = Transcript {
                deployment: DeploymentId(Uuid::from_u128(1)),
                attempt: 1,
                worker: "w".to_owned(),
                at: Timestamp::UNIX_EPOCH,
                devices: (0..devices).map(kept).collect(),
            };
            let too_large = matches!(transcript.encode(), Err(Unreadable::TooLarge(_)));
            assert_eq!(too_large, devices == 8, "the test is one of what does not fit");
            let body = transcript.fit().unwrap();
            assert!(body.len() <= MAX_BYTES);
            let read = Transcript::decode(&body).unwrap();
            assert_eq!(read.devices.len(), devices as usize);
            assert!(read.devices.iter().all(|device| device.exchanges.last().unwrap().step == "99"));
        }
    }
}
