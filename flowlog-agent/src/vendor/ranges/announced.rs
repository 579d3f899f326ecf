//! Tables of autonomous systems, a range a line: `start end asn country name` as iptoasn has it, by tabs or commas, or
//! `prefix,asn,…,name`. A line of names before them says where each column stands.

use super::RangesError;
use super::spans::Gathered;
use ipnet::IpNet;
use std::io::BufRead;
use std::net::IpAddr;

/// The longest name that is kept; some registries have sentences there.
const NAME_BYTES: usize = 64;

/// Which field is what.
#[derive(Clone, Copy, Debug, Default)]
struct Columns {
    /// A block, or the first address.
    start: usize,
    end: Option<usize>,
    asn: usize,
    name: Option<usize>,
}

impl Columns {
    /// By the names that tables have in use.
    fn of_header(fields: &[String]) -> Option<Self> {
        let find = |names: &[&str]| {
            let is_it = |field: &String| names.contains(&field.trim().to_ascii_lowercase().as_str());
            fields.iter().position(is_it)
        };
        Some(Self {
            start: find(&[
                "network",
                "prefix",
                "cidr",
                "range",
                "start",
                "start_ip",
                "range_start",
                "first_ip",
            ])?,
            end: find(&["end", "end_ip", "range_end", "last_ip"]),
            asn: find(&["asn", "as_number", "autonomous_system_number"])?,
            name: find(&[
                "name",
                "as_name",
                "org",
                "organization",
                "as_description",
                "description",
                "autonomous_system_organization",
            ]),
        })
    }

    /// By where addresses stand, in a table without names.
    fn of_row(fields: &[String]) -> Option<Self> {
        let is_address =
            |place: usize| fields.get(place).is_some_and(|field| field.parse::<IpAddr>().is_ok());
        let last = fields.len().checked_sub(1)?;
        if is_address(0) && is_address(1) && last >= 2 {
            return Some(Self { start: 0, end: Some(1), asn: 2, name: (last > 2).then_some(last) });
        }
        let is_block = fields.first().is_some_and(|field| field.parse::<IpNet>().is_ok());
        (is_block && last >= 1).then(|| Self {
            start: 0,
            end: None,
            asn: 1,
            name: (last > 1).then_some(last),
        })
    }
}

pub(super) fn read(lines: impl BufRead, into: &mut Gathered) -> Result<usize, RangesError> {
    let before = into.len();
    let mut columns: Option<Columns> = None;
    let (mut separator, mut fields) = (',', Vec::new());
    for (line, number) in lines.lines().zip(1u64..) {
        let line = line?;
        let line = line.trim_start_matches('\u{feff}').trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let refuse = |reason: &str| RangesError::Malformed { line: number, reason: reason.to_owned() };
        if columns.is_none() {
            separator = if line.contains('\t') { '\t' } else { ',' };
        }
        split(line, separator, &mut fields);
        let found = match columns {
            Some(columns) => columns,
            None => match Columns::of_row(&fields) {
                Some(found) => *columns.insert(found),
                None => {
                    let found = Columns::of_header(&fields).ok_or_else(|| {
                        refuse("no table of autonomous systems: start, end, asn, country, name, or prefix, asn, name")
                    })?;
                    columns = Some(found);
                    continue;
                }
            },
        };
        take(&fields, found, into).map_err(|problem| match problem {
            Problem::Field(reason) => refuse(&reason),
            Problem::Ranges(error) => error,
        })?;
    }
    match into.len() - before {
        0 => Err(RangesError::Empty),
        rows => Ok(rows),
    }
}

enum Problem {
    Field(String),
    Ranges(RangesError),
}

impl From<RangesError> for Problem {
    fn from(error: RangesError) -> Self {
        Self::Ranges(error)
    }
}

fn take(fields: &[String], columns: Columns, into: &mut Gathered) -> Result<(), Problem> {
    let field = |place: usize| fields.get(place).map(|field| field.trim()).unwrap_or_default();
    let no = |what: &str, written: &str| Problem::Field(format!("`{written}` is no {what}"));
    let written = field(columns.asn);
    let number = written.strip_prefix("AS").or_else(|| written.strip_prefix("as")).unwrap_or(written);
    // Where nobody announces a range, tables have 0, or nothing.
    let asn = if number.is_empty() {
        0
    } else {
        number.parse::<u32>().map_err(|_| no("number of an AS", written))?
    };
    let start = field(columns.start);
    let (first, last) = match columns.end {
        Some(end) => {
            let address = |written: &str| written.parse::<IpAddr>().map_err(|_| no("address", written));
            (address(start)?, address(field(end))?)
        }
        None => {
            let block: IpNet = start.parse().map_err(|_| no("address block", start))?;
            (block.network(), block.broadcast())
        }
    };
    if first.is_ipv4() != last.is_ipv4() || first > last {
        return Err(Problem::Field(format!("{first} to {last} is no range")));
    }
    if asn == 0 {
        return Ok(());
    }
    let told = columns.name.map(field).filter(|name| !name.is_empty());
    let number = format!("AS{asn}");
    let name = told.map_or(&*number, |name| name.get(..name.floor_char_boundary(NAME_BYTES)).unwrap_or(name));
    Ok(into.add(first, last, &number, name)?)
}

/// The fields of a line; quotes around one keep what separates fields, and two of them within are one.
fn split(line: &str, separator: char, fields: &mut Vec<String>) {
    fields.clear();
    let mut field = String::new();
    let mut letters = line.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if separator == '\t' => field.push(letter),
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            letter if letter == separator && !quoted => fields.push(std::mem::take(&mut field)),
            letter => field.push(letter),
        }
    }
    fields.push(field);
}
