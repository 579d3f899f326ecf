//! What is said of a run: medians over its sets, and their spread.

use serde_json::{Value, json};

/// Of one operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) wall_ns: u32,
    pub(super) cpu_ns: u32,
}

/// Rounds one after the other, each with its figures: the first with nothing attached, the second with the agent, more
/// with what it is held against.
pub(super) type Set = Vec<Vec<Cost>>;

/// The first figure at the top, the others beside it by name, of the round at this index in each set.
pub(super) fn of(figures: &[&str], sets: &[Set], index: usize) -> Value {
    let mut parts =
        figures.iter().enumerate().map(|(figure, name)| (name, part(&pairs(sets, index, figure))));
    let Some((_, mut summary)) = parts.next() else { return Value::Null };
    for (name, part) in parts {
        summary[*name] = part;
    }
    summary
}

/// A round without and a round with, of the same set.
struct Pair {
    base: Cost,
    with: Cost,
}

fn pairs(sets: &[Set], index: usize, figure: usize) -> Vec<Pair> {
    let cost = |set: &Set, index: usize| set.get(index)?.get(figure).copied();
    sets.iter().filter_map(|set| Some(Pair { base: cost(set, 0)?, with: cost(set, index)? })).collect()
}

/// Medians, and the spread of the pairs' ratios; `cpu_ratio` leaves out the time in which the worker waited for a CPU:
/// where it differs much, the machine was busy.
fn part(pairs: &[Pair]) -> Value {
    let ratios = sorted(pairs.iter().map(|pair| f64::from(pair.with.wall_ns) / f64::from(pair.base.wall_ns)));
    let cpu_ratios =
        sorted(pairs.iter().map(|pair| f64::from(pair.with.cpu_ns) / f64::from(pair.base.cpu_ns)));
    let base = sorted(pairs.iter().map(|pair| f64::from(pair.base.wall_ns) / 1000.0));
    let with = sorted(pairs.iter().map(|pair| f64::from(pair.with.wall_ns) / 1000.0));
    let more = sorted(pairs.iter().map(|pair| f64::from(pair.with.cpu_ns) - f64::from(pair.base.cpu_ns)));
    json!({
        "ratio": quantile(&ratios, 2),
        "ratio_p25": quantile(&ratios, 1),
        "ratio_p75": quantile(&ratios, 3),
        "cpu_ratio": quantile(&cpu_ratios, 2),
        "base_us": quantile(&base, 2),
        "with_us": quantile(&with, 2),
        "more_cpu_ns": quantile(&more, 2),
    })
}

pub(super) fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value at so many quarters of the way, the nearest there is, to four digits.
pub(super) fn quantile(sorted: &[f64], quarters: usize) -> Option<f64> {
    let at = (sorted.len().checked_sub(1)? * quarters + 2) / 4;
    sorted.get(at).map(|value| (value * 10_000.0).round() / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(walls: &[u32]) -> Set {
        let cost =
            |ns: &u32| vec![Cost { wall_ns: *ns, cpu_ns: ns / 2 }, Cost { wall_ns: 2 * ns, cpu_ns: *ns }];
        walls.iter().map(cost).collect()
    }

    #[test]
    fn the_summary_is_of_pairs_not_of_sums() {
        let sets = [[30_000, 33_000], [60_000, 63_000], [30_000, 31_500], [30_000, 30_000], [30_000, 36_000]];
        let sets = sets.map(|walls| set(&walls));
        let expected = json!({
            "ratio": 1.05, "ratio_p25": 1.05, "ratio_p75": 1.1, "cpu_ratio": 1.05,
            "base_us": 30.0, "with_us": 33.0, "more_cpu_ns": 1500.0,
        });
        assert_eq!(of(&["connect"], &sets, 1), expected);
    }

    #[test]
    fn other_figures_stand_beside_the_first_by_name() {
        let summary = of(&["send", "receive"], &[set(&[10_000, 11_000])], 1);
        assert_eq!((&summary["base_us"], &summary["receive"]["base_us"]), (&json!(10.0), &json!(20.0)));
    }

    #[test]
    fn each_is_held_against_the_round_without_of_its_own_set() {
        let sets = [set(&[10_000, 11_000, 12_000]), set(&[20_000, 22_000, 24_000])];
        assert_eq!(of(&["connect"], &sets, 2)["ratio"], 1.2);
    }

    #[test]
    fn one_pair_is_its_own_median() {
        assert_eq!(of(&["connect"], &[set(&[10_000, 11_000])], 1)["ratio"], 1.1);
        assert_eq!(quantile(&[], 2), None);
    }
}
