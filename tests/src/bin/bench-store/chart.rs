//! The figures as bars: a small SVG that a page of the guide shows.

use std::fmt::Write;

use crate::report::{Indexing, Searching, megabytes, milliseconds};

const WIDTH: f64 = 860.0;
/// Where bars begin; names stand before.
const LEFT: f64 = 200.0;
/// Room for the number behind the longest bar.
const RIGHT: f64 = 80.0;
const BAR: f64 = 13.0;
const GAP: f64 = 10.0;
const COLOURS: [&str; 5] = ["#c2410c", "#1d4ed8", "#0e7490", "#6d28d9", "#4d7c0f"];

/// Bars of one figure, one for each store.
struct Group {
    name: String,
    bars: Vec<f64>,
}

/// The chart: what indexing cost, and the CPU time and p50 of searches.
pub(crate) fn draw(indexing: &[Indexing], searching: &[Searching]) -> String {
    let figure = |name: &str, of: &dyn Fn(&Indexing) -> f64| Group {
        name: name.to_owned(),
        bars: indexing.iter().map(of).collect(),
    };
    let costs = [
        figure("CPU s", &|row| row.cpu),
        figure("disk MB", &|row| megabytes(row.disk)),
        figure("peak MB", &|row| megabytes(row.peak)),
    ];
    let classes: Vec<&str> = searching
        .iter()
        .filter(|row| {
            indexing
                .first()
                .is_some_and(|first| first.store == row.store)
        })
        .map(|row| row.class)
        .collect();
    let of_searches = |of: &dyn Fn(&Searching) -> f64| -> Vec<Group> {
        classes
            .iter()
            .map(|class| Group {
                name: (*class).to_owned(),
                bars: indexing
                    .iter()
                    .map(|store| {
                        let mut rows = searching.iter();
                        rows.find(|row| row.class == *class && row.store == store.store)
                            .map_or(0.0, of)
                    })
                    .collect(),
            })
            .collect()
    };
    let mut body = String::new();
    let mut y = 24.0;
    for (place, store) in indexing.iter().enumerate() {
        let x = 10.0 + 200.0 * place as f64;
        let colour = COLOURS[place % COLOURS.len()];
        let _ = write!(
            body,
            "<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y}\">{}</text>",
            y - 11.0,
            x + 18.0,
            store.store
        );
    }
    y += 30.0;
    // Each cost has a scale of its own; searches share one.
    section(&mut body, &mut y, "Indexing", &costs, None);
    let p50 = of_searches(&|row| milliseconds(row.p50));
    section(
        &mut body,
        &mut y,
        "Searches, p50 in ms",
        &p50,
        greatest(&p50),
    );
    let cpu = of_searches(&|row| row.cpu_ms);
    section(
        &mut body,
        &mut y,
        "Searches, CPU ms each",
        &cpu,
        greatest(&cpu),
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{body}</svg>\n"
    )
}

fn greatest(groups: &[Group]) -> Option<f64> {
    let all = groups.iter().flat_map(|group| group.bars.iter().copied());
    all.reduce(f64::max)
}

fn section(body: &mut String, y: &mut f64, title: &str, groups: &[Group], scale: Option<f64>) {
    let _ = write!(
        body,
        "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{title}</text>"
    );
    *y += GAP;
    for group in groups {
        let own = group.bars.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let full = scale.unwrap_or(own).max(f64::MIN_POSITIVE);
        let _ = write!(
            body,
            "<text x=\"10\" y=\"{}\">{}</text>",
            *y + BAR - 2.0,
            group.name
        );
        for (place, value) in group.bars.iter().enumerate() {
            let width = ((WIDTH - LEFT - RIGHT) * value / full).max(1.0);
            let colour = COLOURS[place % COLOURS.len()];
            let _ = write!(
                body,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
                BAR - 2.0,
                LEFT + width + 5.0,
                *y + BAR - 3.0,
                short(*value)
            );
            *y += BAR;
        }
        *y += GAP;
    }
    *y += 2.0 * GAP;
}

fn short(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
