//! Progress on standard error: a bar on a terminal, otherwise a line every ten seconds at most.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Show;

/// Shows how far a run is.
pub(super) struct Progress {
    form: Form,
    /// When something was last shown, and how long to wait before the next.
    last: Instant,
    pause: Duration,
    begun: Instant,
    /// Steps: those before this process, and those of the run.
    from: u64,
    total: u64,
    /// What the last evaluation found.
    found: String,
}

enum Form {
    Quiet,
    Bar(ProgressBar),
    Lines(Box<dyn Write>),
}

impl Progress {
    /// Of a run of `total` steps that begins at step `from`.
    pub fn new(show: Show, from: u64, total: u64) -> Progress {
        let (form, pause) = match show {
            Show::Quiet => (Form::Quiet, Duration::MAX),
            Show::Stderr if std::io::stderr().is_terminal() => {
                (Form::Bar(bar(from, total)), Duration::from_millis(100))
            }
            Show::Stderr => (Form::Lines(Box::new(std::io::stderr())), Duration::from_secs(10)),
        };
        let now = Instant::now();
        Progress { form, last: now, pause, begun: now, from, total, found: String::new() }
    }

    /// Shows a step that was taken, if it is time to.
    pub fn step(&mut self, step: u64, epoch: f64, loss: f64) {
        let now = Instant::now();
        if now.duration_since(self.last) < self.pause {
            return;
        }
        self.last = now;
        let text = format!("epoch {epoch:.2}  loss {loss:.4}{}", self.found);
        match &mut self.form {
            Form::Quiet => {}
            Form::Bar(bar) => {
                bar.set_position(step);
                bar.set_message(text);
            }
            Form::Lines(out) => {
                let rate = (step - self.from) as f64 / now.duration_since(self.begun).as_secs_f64();
                let left = Duration::from_secs_f64((self.total.saturating_sub(step) as f64 / rate).min(1e9));
                // Progress that nobody reads any more stops nothing.
                let _ = writeln!(out, "{}", line(step, self.total, &text, rate, left));
            }
        }
    }

    /// Takes in what an evaluation found; it is shown with the next step.
    pub fn evaluated(&mut self, metrics: &super::Metrics) {
        let each = metrics.iter().map(|(name, value)| format!("  validation {name} {value:.4}"));
        self.found = each.collect();
    }

    /// Says something.
    pub fn note(&mut self, text: &str) {
        match &mut self.form {
            Form::Quiet => {}
            Form::Bar(bar) => bar.println(text),
            Form::Lines(out) => drop(writeln!(out, "{text}")),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Form::Bar(bar) = &self.form {
            bar.abandon();
        }
    }
}

fn bar(from: u64, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {per_sec}  {eta} left\n{msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position(from);
    bar.reset_eta();
    bar
}

/// `step 1200 of 4000 (30 %), 85.2 steps/s, 33 s left  epoch 3.00  loss 0.4121`.
fn line(step: u64, total: u64, text: &str, rate: f64, left: Duration) -> String {
    let share = 100.0 * step as f64 / total.max(1) as f64;
    format!("step {step} of {total} ({share:.0} %), {rate:.1} steps/s, {} left  {text}", time(left))
}

/// `33 s`, `4 min`, `2 h 5 min`.
fn time(length: Duration) -> String {
    match length.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().map_err(|_| std::io::ErrorKind::Other)?.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(pause: Duration) -> (Progress, Paper) {
        let paper = Paper::default();
        let mut progress = Progress::new(Show::Quiet, 0, 4000);
        (progress.form, progress.pause) = (Form::Lines(Box::new(paper.clone())), pause);
        (progress, paper)
    }

    #[test]
    fn lines_wait_for_their_time() {
        let (mut progress, paper) = lines(Duration::from_secs(3600));
        (1..=1000).for_each(|step| progress.step(step, 0.0, 1.0));
        assert!(paper.0.lock().expect("the paper").is_empty());
        let (mut progress, paper) = lines(Duration::ZERO);
        progress.step(1000, 2.5, 0.25);
        let text = String::from_utf8(paper.0.lock().expect("the paper").clone()).expect("a text");
        assert!(
            text.starts_with("step 1000 of 4000 (25 %), ") && text.ends_with("epoch 2.50  loss 0.2500\n"),
            "{text}"
        );
    }

    #[test]
    fn times_are_short() {
        assert_eq!([33, 240, 7500].map(|s| time(Duration::from_secs(s))), ["33 s", "4 min", "2 h 5 min"]);
    }
}
