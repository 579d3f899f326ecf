//! The items of a list, one by one, while its bytes arrive: a page is never held whole, let alone parsed whole.
//!
//! What arrives is JSON as API servers write it. The items are cut out by their braces; whoever reads them parses them.

/// A list larger than this in one item is no list of an API server, which keeps objects below 1.5 MiB in etcd.
pub(super) const MOST_BYTES: usize = 32 << 20;

/// Where in the list the next byte lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the value of `items`, or behind it.
    Outside,
    /// Among the items.
    Items,
}

/// Cuts a list into its items.
#[derive(Debug)]
pub(super) struct Items {
    /// Bytes that are not handed out yet: within an item its beginning, elsewhere what stands around the items.
    buffer: Vec<u8>,
    /// What stands around the items: the list without them.
    around: Vec<u8>,
    place: Place,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// The text that was read last at the first level, where a key may stand.
    key: Vec<u8>,
    failed: bool,
}

impl Default for Items {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            around: Vec::new(),
            place: Place::Outside,
            depth: 0,
            in_text: false,
            escaped: false,
            key: Vec::new(),
            failed: false,
        }
    }
}

impl Items {
    /// Takes bytes, and hands each item that they complete to `item`. False where this cannot be a list.
    pub(super) fn feed(&mut self, bytes: &[u8], item: &mut dyn FnMut(&[u8])) -> bool {
        for byte in bytes {
            self.take(*byte, item);
        }
        self.failed |= self.buffer.len() > MOST_BYTES || self.around.len() > MOST_BYTES;
        !self.failed
    }

    /// The list without its items, once it is complete.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        (!self.failed && self.depth == 0 && !self.around.is_empty()).then_some(self.around)
    }

    fn take(&mut self, byte: u8, item: &mut dyn FnMut(&[u8])) {
        let in_item = self.place == Place::Items && self.depth > 2;
        let was_in_text = self.in_text;
        self.step(byte);
        match self.place {
            Place::Outside => {
                self.around.push(byte);
                if was_in_text && self.depth == 1 && self.in_text {
                    self.key.push(byte);
                } else if !was_in_text && self.in_text {
                    self.key.clear();
                }
                if byte == b'[' && !was_in_text && self.depth == 2 && self.key == b"items" {
                    self.place = Place::Items;
                }
            }
            Place::Items if self.depth < 2 => {
                self.place = Place::Outside;
                self.around.push(byte);
                self.key.clear();
            }
            Place::Items if in_item || self.depth > 2 => {
                self.buffer.push(byte);
                if self.depth == 2 {
                    item(&self.buffer);
                    self.buffer.clear();
                }
            }
            // Commas and blanks between items.
            Place::Items => {}
        }
    }

    fn step(&mut self, byte: u8) {
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => match self.depth.checked_sub(1) {
                Some(depth) => self.depth = depth,
                None => self.failed = true,
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, step: usize) -> (Vec<String>, Option<String>) {
        let (mut items, mut found) = (Items::default(), Vec::new());
        for bytes in text.as_bytes().chunks(step) {
            items.feed(bytes, &mut |item| found.push(String::from_utf8(item.to_vec()).unwrap()));
        }
        (found, items.finish().map(|around| String::from_utf8(around).unwrap()))
    }

    #[test]
    fn items_are_cut_out_wherever_the_bytes_break() {
        let rows = [
            (r#"{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[]}"#, vec![]),
            (
                r#"{"kind":"PodList","items":[{"a":1},{"b":{"items":[{"c":"]}\"{"}]}}],"metadata":{}}"#,
                vec![r#"{"a":1}"#, r#"{"b":{"items":[{"c":"]}\"{"}]}}"#],
            ),
            ("{ \"items\" : [ {\"a\":\"\\\\\"} ,\n {} ] }\n", vec![r#"{"a":"\\"}"#, "{}"]),
            (r#"{"metadata":{"items":[{"x":1}]},"items":null}"#, vec![]),
            (r#"{"metadata":{"continue":"items"},"other":[{"x":1}],"items":[{"y":1}]}"#, vec![r#"{"y":1}"#]),
        ];
        for (text, expected) in rows {
            for step in [1, 2, 3, 7, 1_000] {
                let (found, around) = cut(text, step);
                assert_eq!(found, expected, "{text} by {step}");
                let around: serde_json::Value = serde_json::from_str(&around.unwrap()).unwrap();
                let mut whole: serde_json::Value = serde_json::from_str(text).unwrap();
                if whole["items"].is_array() {
                    whole["items"] = serde_json::json!([]);
                }
                assert_eq!(around, whole, "{text} by {step}");
            }
        }
    }

    #[test]
    fn what_ends_early_is_no_list() {
        for text in ["", r#"{"items":[{"a":1}"#, r#"{"items":[{"a":1}]"#, "}", r#"{"items":[{"a":"}]}"#] {
            assert_eq!(cut(text, 3).1, None, "{text}");
        }
    }
}
