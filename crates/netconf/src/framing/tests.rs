use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1000;

/// All messages, and the error that ended it, if any, after pushing these parts.
fn decode(framing: Framing, parts: &[&[u8]]) -> (Vec<Vec<u8>>, Option<FramingError>) {
    let mut decoder = Decoder::new(LIMIT);
    decoder.set_framing(framing);
    let mut messages = Vec::new();
    for part in parts {
        if let Err(error) = decoder.push(part) {
            return (messages, Some(error));
        }
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_message(), Err(error.clone()), "an error is for ever");
                    return (messages, Some(error));
                }
            }
        }
    }
    (messages, None)
}

fn chunked(stream: &str) -> Result<Vec<String>, FramingError> {
    let (messages, error) = decode(Framing::Chunked, &[stream.as_bytes()]);
    match error {
        Some(error) => Err(error),
        None => Ok(messages.into_iter().map(|message| String::from_utf8(message).unwrap()).collect()),
    }
}

#[test]
fn decodes_the_example_of_rfc_6242() {
    let stream = "\n#4\n<rpc\n#18\n message-id=\"102\"\n\n#79\n     xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\">\n  <close-session/>\n</rpc>\n##\n";
    let message = "<rpc message-id=\"102\"\n     xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\">\n  <close-session/>\n</rpc>";
    assert_eq!(chunked(stream).unwrap(), [message]);
}

#[test]
fn every_split_of_a_stream_decodes_like_the_whole() {
    let stream = b"\n#4\n<a/>\n##\n \r\n\n#1\n<\n#3\nb/>\n##\n\n#2\n\n#\n##\n";
    let whole = decode(Framing::Chunked, &[stream]);
    assert_eq!(whole.0.len(), 3);
    assert_eq!(whole.0[2], b"\n#");
    for first in 0..stream.len() {
        for second in first..stream.len() {
            let parts = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(decode(Framing::Chunked, &parts), whole, "{first} {second}");
        }
    }
}

#[test]
fn tolerates_and_refuses_as_the_design_says() {
    assert_eq!(chunked(" \t\r\n \n#4\n<a/> \r\n\n##\n").unwrap(), ["<a/>"]);
    let reason = |stream: &str| match chunked(stream) {
        Err(FramingError::BadChunk { reason }) => reason,
        other => panic!("{stream:?}: {other:?}"),
    };
    assert!(reason("\n#0\n").contains("zero"));
    assert!(reason("\n#04\n<a/>").contains("zero"));
    assert!(reason("\n#12345678901\n").contains("ten digits"));
    assert!(reason("\n#4294967296\n").contains("above 4294967295"));
    assert!(reason("\n#\n").contains("isn't a number"));
    assert!(reason("\n#-1\n").contains("isn't a number"));
    assert!(reason("\n#4 \n").contains("isn't a number"));
    assert!(reason("\n##\n").contains("without a chunk"));
    assert!(reason("\n#4\n<a/>\n## ").contains("line feed"));
    assert!(reason("\n#3\n<a/>").contains("longer"));
    assert!(reason("#4\n<a/>").contains("no chunk begins"));
    assert!(reason("x").contains("no chunk begins"));
    assert_eq!(chunked("<a/>]]>]]>"), Err(FramingError::EndOfMessageAfterChunked));
    assert_eq!(chunked("\n#4\n<a/>\n##\n<a/>]]>]]>"), Err(FramingError::EndOfMessageAfterChunked));
}

#[test]
fn end_of_message_framing() {
    let (messages, error) = decode(Framing::EndOfMessage, &[b"<a/>]]>]]>\n]]>]]><b>]]]>]]><c>]]>]]"]);
    assert_eq!(error, None);
    assert_eq!(messages, [b"<a/>".to_vec(), b"<b>]".to_vec()]);
}

#[test]
fn changes_framing_in_the_middle_of_what_was_received() {
    let mut decoder = Decoder::new(LIMIT);
    decoder.push(b"<hello/>]]>]]>\n#4\n<a/>\n##\n").unwrap();
    assert_eq!(decoder.next_message().unwrap().unwrap(), b"<hello/>");
    decoder.set_framing(Framing::Chunked);
    assert_eq!(decoder.next_message().unwrap().unwrap(), b"<a/>");
    assert_eq!(decoder.next_message(), Ok(None));
}

#[test]
fn refuses_large_messages_before_they_take_memory() {
    let too_large = Some(FramingError::MessageTooLarge { limit: LIMIT });
    assert_eq!(decode(Framing::Chunked, &[b"\n#1001\n"]).1, too_large);
    assert_eq!(decode(Framing::Chunked, &[b"\n#4000000000\n"]).1, too_large);
    let half = format!("\n#600\n{}\n#600\n", "x".repeat(600));
    assert_eq!(decode(Framing::Chunked, &[half.as_bytes()]).1, too_large);
    let exact = format!("{}]]>]]>", "x".repeat(LIMIT));
    assert_eq!(decode(Framing::EndOfMessage, &[exact.as_bytes()]).1, None);
    let over = format!("x{exact}");
    assert_eq!(decode(Framing::EndOfMessage, &[over.as_bytes()]).1, too_large);
    assert_eq!(decode(Framing::EndOfMessage, &[&[b'x'; LIMIT + 6]]).1, too_large);

    let mut decoder = Decoder::new(LIMIT);
    let flood = vec![b'x'; 1 << 20];
    let refused = (0..100).find_map(|_| decoder.push(&flood).err());
    assert!(matches!(refused, Some(FramingError::Backlog { .. })));
    assert_eq!(decoder.input.capacity(), 0);
}

#[test]
fn a_large_message_in_small_pieces_is_linear() {
    // Quadratic work would be 2 GiB of comparing here, and minutes without optimisation.
    let message = vec![b']'; 2 << 20];
    let mut stream = Vec::new();
    Framing::EndOfMessage.encode(&message, &mut stream);
    let mut decoder = Decoder::new(4 << 20);
    let mut decoded = Vec::new();
    for part in stream.chunks(1000) {
        decoder.push(part).unwrap();
        decoded.extend(decoder.next_message().unwrap());
    }
    assert_eq!(decoded.len(), 1);
    assert_eq!(decoded[0].len(), message.len());
    assert!(decoder.input.capacity() <= KEEP_BYTES, "idle sessions stay small");
}

#[test]
fn many_small_messages_in_one_push_are_linear() {
    let mut stream = Vec::new();
    for _ in 0..100_000 {
        Framing::Chunked.encode(b"<a/>", &mut stream);
    }
    let mut decoder = Decoder::new(4 << 20);
    decoder.set_framing(Framing::Chunked);
    decoder.push(&stream).unwrap();
    let count = std::iter::from_fn(|| decoder.next_message().unwrap()).count();
    assert_eq!(count, 100_000);
}

fn cut(stream: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    cuts.iter_mut().for_each(|cut| *cut %= stream.len() + 1);
    cuts.sort_unstable();
    let mut parts = Vec::new();
    let mut from = 0;
    for cut in cuts {
        parts.push(&stream[from..cut]);
        from = cut;
    }
    parts.push(&stream[from..]);
    parts
}

fn framing() -> impl Strategy<Value = Framing> {
    prop::sample::select(vec![Framing::EndOfMessage, Framing::Chunked])
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_the_same_however_it_is_split(
        framing in framing(),
        messages in prop::collection::vec("<[a-z#\n\\]]{0,40}/>", 0..8),
        cuts in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let mut stream = Vec::new();
        for message in &messages {
            framing.encode(message.as_bytes(), &mut stream);
        }
        let (decoded, error) = decode(framing, &cut(&stream, cuts));
        prop_assert_eq!(error, None);
        prop_assert_eq!(decoded, messages.iter().map(|m| m.as_bytes().to_vec()).collect::<Vec<_>>());
    }

    #[test]
    fn chunks_of_any_sizes_make_one_message(
        pieces in prop::collection::vec("[ -~\n]{1,30}", 1..10),
        cuts in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let mut stream = Vec::new();
        for piece in &pieces {
            stream.extend_from_slice(format!("\n#{}\n{piece}", piece.len()).as_bytes());
        }
        stream.extend_from_slice(b"\n##\n");
        let whole = pieces.concat().into_bytes();
        let expected = if whole.iter().all(u8::is_ascii_whitespace) { vec![] } else { vec![whole] };
        prop_assert_eq!(decode(Framing::Chunked, &cut(&stream, cuts)), (expected, None));
    }

    #[test]
    fn any_bytes_give_the_same_however_they_are_split_and_never_panic(
        framing in framing(),
        stream in "(\n#|\n##\n|[0-9]|\n|#|\\]\\]>|>|\\]| |<a>|1\n[a-z]|\n#3\nabc|\n#900\n|x{300}){0,40}",
        cuts in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let parts = cut(stream.as_bytes(), cuts);
        prop_assert_eq!(decode(framing, &parts), decode(framing, &[stream.as_bytes()]));
        let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        prop_assert_eq!(decode(framing, &single), decode(framing, &[stream.as_bytes()]));
    }
}
