use super::*;
use crate::model::Class;
use crate::sinks::Request;
use crate::sinks::remote::Remote;
use crate::sinks::tests::{Fixture, encoder, gap};
use std::io::{BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

const WAIT: Duration = Duration::from_secs(20);

fn open(port: u16) -> Syslog {
    let remote = Remote { timeout: Duration::from_secs(2), ..Remote::default() };
    let request = Request { remote, ..Request::from(&*format!("syslog://127.0.0.1:{port}")) };
    Syslog::open(&Opening { request: &request, run: encoder().run(), number: 0 }).unwrap()
}

/// The next frame of a stream, read by the letter: a decimal length, a space, so many bytes.
fn next_frame(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            assert_eq!(length, 0, "it ends between two frames");
            return None;
        }
        match byte[0] {
            b' ' => break,
            digit => length = length * 10 + usize::from(digit.checked_sub(b'0').filter(|d| *d < 10).unwrap()),
        }
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).unwrap();
    Some(frame)
}

/// The record of a message.
fn record(frame: &[u8]) -> String {
    let text = std::str::from_utf8(frame).unwrap();
    text.splitn(8, ' ').nth(7).unwrap().to_owned()
}

fn serve(listener: TcpListener) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut text = String::new();
        while let Some(frame) = next_frame(&mut stream) {
            text.push_str(&record(&frame));
            text.push('\n');
        }
        text
    })
}

pub(in crate::sinks) fn fixture() -> Fixture {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = Box::new(open(listener.local_addr().unwrap().port()));
    let server = serve(listener);
    Fixture { output, framed: true, read_back: Box::new(move || server.join().unwrap()) }
}

fn framed(output: &Syslog, line: &Line, seq: u64) -> Vec<u8> {
    let mut out = Vec::new();
    output.header.frame(line, seq, &mut out);
    out
}

fn send(output: &mut Syslog, number: usize) -> Result<(), WriteError> {
    let bytes = framed(output, &gap(number), 1);
    output.write(Batch { bytes: &bytes, ends: &[bytes.len()] }, Duration::ZERO)
}

#[test]
fn a_message_is_as_rfc_5424_has_it_and_its_length_stands_before_it() {
    let output = open(9);
    let line = crate::record::tests::line(Class::PolicyNotEnforced, 3);
    let bytes = framed(&output, &line, 7);
    let message = next_frame(&mut &*bytes).unwrap();
    let text = String::from_utf8(message).unwrap();
    let fields: Vec<&str> = text.splitn(8, ' ').collect();
    // local0 × 8 + error.
    assert_eq!(fields[0], "<131>1");
    assert!(
        fields[1].ends_with('Z') && fields[1].len() == "2026-11-23T13:53:52.123456Z".len(),
        "{}",
        fields[1]
    );
    assert_eq!(fields[2..7], ["worker-1", "flowlog", "7f3a", "policy_not_enforced", "-"]);
    let mut whole = Vec::new();
    line.append_to(7, &mut whole);
    assert_eq!(format!("{}\n", fields[7]).into_bytes(), whole);
    assert_eq!(bytes.len(), format!("{} ", text.len()).len() + text.len(), "one frame and no more");
}

#[test]
fn a_header_has_no_field_that_ends_it_early() {
    assert_eq!(header_field("a b\nc\u{fc}", 99), "a_b_c_");
    assert_eq!(header_field("", 99), "-");
    assert_eq!(header_field(&"x".repeat(300), MAX_HOST_BYTES).len(), MAX_HOST_BYTES);
    let longest = crate::record::MAX_LINE_BYTES
        + MAX_HOST_BYTES
        + "<134>1 2026-11-23T13:53:52.123456Z  flowlog  - ".len();
    assert!(longest + 36 + "blocked_though_allowed ".len() <= 8_192, "within rsyslog's default limit");
}

fn frames_of(stream: TcpStream, count: usize) -> Vec<String> {
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let mut stream = BufReader::new(stream);
    (0..count).map(|_| record(&next_frame(&mut stream).unwrap())).collect()
}

#[test]
fn what_a_broken_connection_may_not_have_brought_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut output = open(listener.local_addr().unwrap().port());
    send(&mut output, 0).unwrap();
    let (first, _) = listener.accept().unwrap();
    // Nothing of it was read: closing it resets the connection.
    drop(first);
    let deadline = Instant::now() + WAIT;
    while send(&mut output, 1).is_ok() {
        assert!(Instant::now() < deadline, "the break goes unnoticed");
        std::thread::park_timeout(FRESH * 2);
    }
    send(&mut output, 2).unwrap();
    let (second, _) = listener.accept().unwrap();
    drop(output);
    let got = frames_of(second, 2);
    assert!(got[0].contains("gap 0"), "{got:?}");
    assert!(got.iter().any(|line| line.contains("gap 2")) || got[1].contains("gap 1"), "{got:?}");
}

#[test]
fn a_far_end_that_closes_while_nothing_is_sent_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut output = open(listener.local_addr().unwrap().port());
    send(&mut output, 0).unwrap();
    assert!(output.tick().is_ok());
    let (mut first, _) = listener.accept().unwrap();
    next_frame(&mut first).unwrap();
    drop(first);
    let deadline = Instant::now() + WAIT;
    while output.tick().is_ok() {
        assert!(Instant::now() < deadline, "it goes unnoticed");
    }
    output.reopen().unwrap();
    assert_eq!(frames_of(listener.accept().unwrap().0, 1).len(), 1, "and what was sent last comes again");
}

#[test]
fn what_was_sent_long_ago_is_not_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut output = open(listener.local_addr().unwrap().port());
    send(&mut output, 0).unwrap();
    for (sent, _) in &mut output.recent {
        *sent = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
    }
    output.tick().unwrap();
    assert!(output.recent.is_empty() && output.recent_bytes == 0);
}

#[test]
fn a_host_that_nobody_serves_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    match send(&mut open(port), 0) {
        Err(WriteError::Failed { written: 0, error }) => {
            assert!(error.to_string().starts_with(&format!("connect to 127.0.0.1:{port}: ")), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
