//! Kinds of which the kernel half knows that they are allowed, so that their repeats give way first when the ring fills up.

use super::load::LoadError;
use super::repeats::{Key, Repeat, key_of};
use super::ring::{Maps, refused};
use crate::model::Class;
use aya::maps::{Array, HashMap, MapData, MapError};
use flowlog_common::shed::{ALLOWED, Judgement, UNRESTRICTED};

/// [`Judgement`] under a type of ours, so that aya may write it to a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Value(Judgement);

// SAFETY: `repr(C)`, made of integers alone, without padding (asserted where it is declared).
#[expect(unsafe_code, reason = "aya asks for a promise about the layout")]
unsafe impl aya::Pod for Value {}

/// The maps.
pub(super) struct Judged {
    kinds: HashMap<MapData, Key, Value>,
    latest: Array<MapData, u32>,
    snapshot: u32,
}

impl Judged {
    /// What a run before this one judged holds no longer.
    pub(super) fn take(maps: &mut Maps<'_>) -> Result<Self, LoadError> {
        let mut take = |name: &str| maps.take(name);
        let latest: Array<MapData, u32> =
            Array::try_from(take("SNAPSHOT")?).map_err(|error| refused("SNAPSHOT", &error))?;
        let snapshot = latest.get(&0, 0).map_err(|error| refused("SNAPSHOT", &error))?;
        let kinds = HashMap::try_from(take("JUDGED")?).map_err(|error| refused("JUDGED", &error))?;
        let mut judged = Self { kinds, latest, snapshot };
        judged.forget_all().map_err(|error| refused("SNAPSHOT", &error))?;
        Ok(judged)
    }

    /// `false` for a class of which nothing gives way.
    pub(super) fn set(&mut self, kind: &Repeat, class: Class) -> Result<bool, MapError> {
        let Some(class) = number_of(class) else { return Ok(false) };
        let judgement = Judgement { snapshot: self.snapshot, class: u32::from(class) };
        self.kinds.insert(key_of(kind), Value(judgement), 0)?;
        Ok(true)
    }

    pub(super) fn forget(&mut self, kind: &Repeat) -> Result<(), MapError> {
        match self.kinds.remove(&key_of(kind)) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn forget_all(&mut self) -> Result<(), MapError> {
        self.snapshot = self.snapshot.wrapping_add(1);
        self.latest.set(0, self.snapshot, 0)
    }
}

/// The class as the kernel half counts it.
pub(super) fn number_of(class: Class) -> Option<u8> {
    match class {
        Class::Allowed => Some(ALLOWED),
        Class::Unrestricted => Some(UNRESTRICTED),
        _ => None,
    }
}
