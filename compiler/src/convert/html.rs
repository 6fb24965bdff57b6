//! The report as one self-contained page.

use std::fmt::Write;

use super::report::{Change, FitLine, Replaced, Report, size};
use crate::output::grouped;
use crate::search::Candidate;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
table{border-collapse:collapse;width:100%;margin:1rem 0 2rem}th,td{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:left}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.n,code{white-space:nowrap}code{font-family:ui-monospace,monospace}\
.totals td:last-child{width:40%}main{overflow-x:auto}\
.bar{background:#dfe6ee;height:1.1rem;margin:.2rem 0;border-radius:3px}.bar i{display:block;height:100%;background:#27699c;border-radius:3px}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181a1d}th,td{border-color:#3a3f45}.bar{background:#30363d}}";

impl Report {
    /// The report as one self-contained HTML page: no script, nothing loaded from elsewhere.
    pub fn html(&self, title: &str) -> String {
        let title = escaped(title);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\n\
             <body><main><h1>{title}</h1>\n"
        );
        page += &self.totals();
        page += &self.blocks_table();
        page += &self.fits_table();
        page += &self.goal_table();
        page += &self.refused_table();
        page += "</main></body></html>\n";
        page
    }

    fn totals(&self) -> String {
        let row = |name: &str, change: Change, show: fn(u64) -> String| {
            let share = 100.0 * change.after as f64 / (change.before.max(1)) as f64;
            format!(
                "<tr><th>{name}</th><td class=n>{}</td><td class=n>{}</td><td class=n>{share:.1} %</td>\
                 <td><div class=bar><i style=\"width:{:.1}%\"></i></div></td></tr>\n",
                show(change.before),
                show(change.after),
                share.min(100.0)
            )
        };
        let mut text = String::from(
            "<table class=totals><tr><th></th><th class=n>before</th><th class=n>after</th><th class=n>left</th><th></th></tr>\n",
        );
        text += &row("Parameters", self.parameters, grouped);
        text += &row("Multiply-adds", self.macs, grouped);
        text += &row("Weights", self.bytes, size);
        let which = if self.goal.is_some() { "All weights were trained; those that stay" } else { "Untouched weights" };
        let _ = writeln!(text, "</table><p>{which} differ by at most {}.</p>", self.max_abs_diff_untouched);
        text
    }

    fn blocks_table(&self) -> String {
        let mut text = String::from(
            "<h2>Replaced</h2><table><tr><th>Block</th><th>Kind</th><th class=n>Axis</th><th class=n>Width</th>\
             <th class=n>Hidden</th><th>Activation</th><th class=n>Layers</th><th class=n>Parameters</th><th class=n>after</th>\
             <th class=n>Multiply-adds</th><th class=n>after</th><th>New weights</th></tr>\n",
        );
        self.blocks.iter().for_each(|block| text += &block_row(block));
        text + "</table>\n"
    }

    fn fits_table(&self) -> String {
        if self.fits.is_empty() {
            return String::new();
        }
        let mut text = String::from(
            "<h2>Fitted, the cheapest first</h2><table><tr><th>Block</th><th class=n>Error</th><th class=n>Paper's start</th>\
             <th class=n>Effect on the results</th><th class=n>Parameters saved</th></tr>\n",
        );
        for FitLine { id, error, paper, effect, saved } in &self.fits {
            let _ = writeln!(
                text,
                "<tr><td><code>{}</code></td><td class=n>{error:.3}</td><td class=n>{paper:.3}</td>\
                 <td class=n>{effect:.3}</td><td class=n>{}</td></tr>",
                escaped(id),
                grouped(*saved)
            );
        }
        text + "</table>\n"
    }

    fn goal_table(&self) -> String {
        let Some(goal) = &self.goal else { return String::new() };
        let metric = goal.metric;
        let mut text = format!(
            "<h2>Tried: {metric} may lose {} %</h2><table><tr><th>Blocks</th><th class=n>Parameters</th><th class=n>{metric} before</th>\
             <th class=n>after</th><th class=n>Lost</th><th class=n>Steps</th><th class=n>Seconds</th><th></th></tr>\n",
            goal.max_drop
        );
        for candidate in &goal.candidates {
            let Candidate { blocks, parameters, before, after, drop, steps, seconds, .. } = candidate;
            let _ = writeln!(
                text,
                "<tr><td>{}</td><td class=n>{}</td><td class=n>{before:.4}</td><td class=n>{after:.4}</td>\
                 <td class=n>{drop:.2} %</td><td class=n>{}</td><td class=n>{seconds:.1}</td><td>{}</td></tr>",
                escaped(&blocks.join(", ")),
                grouped(*parameters),
                grouped(*steps),
                if candidate.passed { "passed" } else { "too much" }
            );
        }
        text + "</table>\n"
    }

    fn refused_table(&self) -> String {
        if self.refused.is_empty() {
            return String::new();
        }
        let mut text = String::from("<h2>Not replaced</h2><table><tr><th>Block</th><th>Reason</th></tr>\n");
        for refused in &self.refused {
            let _ = writeln!(
                text,
                "<tr><td><code>{}</code></td><td>{}</td></tr>",
                escaped(&refused.id),
                escaped(&refused.reason)
            );
        }
        text + "</table>\n"
    }
}

fn block_row(block: &Replaced) -> String {
    let Replaced { axis, width, depth, parameters, macs, .. } = block;
    let hidden = block.hidden.map_or(String::new(), |hidden| hidden.to_string());
    let activation = escaped(block.activation.as_deref().unwrap_or_default());
    format!(
        "<tr><td><code>{}</code></td><td>{}</td><td class=n>{axis}</td><td class=n>{width}</td><td class=n>{hidden}</td>\
         <td>{activation}</td><td class=n>{depth}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td>\
         <td><code>{}/</code></td></tr>\n",
        escaped(&block.id),
        block.kind,
        grouped(parameters.before),
        grouped(parameters.after),
        grouped(macs.before),
        grouped(macs.after),
        escaped(&block.weights)
    )
}

/// Text that cannot be taken for markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
    }
    out
}
