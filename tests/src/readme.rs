//! The commands that a document shows, with the output that it shows for them.

/// A command and what it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The command, without its prompt.
    pub command: String,
    /// The lines below it, up to the next command or the end of the block.
    pub output: Vec<String>,
    /// The line where the command stands, counted from 1.
    pub line: usize,
}

/// All commands in the `console` blocks of a Markdown text, in order. A command is a line that begins with `$ `.
pub fn commands(markdown: &str) -> Vec<Shown> {
    let (mut shown, mut inside) = (Vec::<Shown>::new(), false);
    for (index, line) in markdown.lines().enumerate() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, _) => add(&mut shown, line, index + 1),
            _ => {}
        }
    }
    shown
}

fn add(shown: &mut Vec<Shown>, line: &str, number: usize) {
    if let Some(command) = line.strip_prefix("$ ") {
        shown.push(Shown { command: command.to_owned(), output: Vec::new(), line: number });
    } else if let Some(last) = shown.last_mut() {
        last.output.push(line.to_owned());
    }
}

/// The text with what `outputs` says below each command, for the commands where it says something.
pub fn with_outputs(markdown: &str, outputs: &[(Shown, String)]) -> String {
    let mut lines: Vec<String> = markdown.lines().map(str::to_owned).collect();
    for (shown, output) in outputs.iter().rev() {
        let below = output.trim_end().lines().map(|line| line.trim_end().to_owned());
        lines.splice(shown.line..shown.line + shown.output.len(), below);
    }
    lines.join("\n") + "\n"
}

/// The words of each line that is not empty, with what differs from run to run replaced: a number before a unit of time
/// becomes `[TIME]`, a number in scientific notation `[SMALL]`.
pub fn words(lines: impl Iterator<Item = impl AsRef<str>>) -> Vec<Vec<String>> {
    let split = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    lines.map(|line| without_noise(split(line.as_ref()))).filter(|words| !words.is_empty()).collect()
}

fn without_noise(mut words: Vec<String>) -> Vec<String> {
    for word in words.iter_mut().filter(|word| word.contains("e-") && word.parse::<f64>().is_ok()) {
        *word = "[SMALL]".to_owned();
    }
    for unit in 1..words.len() {
        let is_unit = matches!(words[unit].trim_matches(|c: char| c.is_ascii_punctuation()), "s" | "ms" | "µs");
        let before = words[unit - 1].trim_start_matches('(');
        if is_unit && before.parse::<f64>().is_ok() {
            words[unit - 1] = "[TIME]".to_owned();
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_their_output() {
        let text = "text\n```console\n$ a b\none\ntwo\n$ c\n```\n$ not this\n```sh\n$ nor this\n```\n";
        let expected = Shown { command: "a b".to_owned(), output: vec!["one".to_owned(), "two".to_owned()], line: 3 };
        assert_eq!(commands(text)[0], expected);
        assert_eq!(commands(text).len(), 2);
    }

    #[test]
    fn outputs_are_replaced_in_place() {
        let text = "a\n```console\n$ one\nold\n$ two\n```\nz\n";
        let outputs: Vec<_> = commands(text).into_iter().map(|shown| (shown, "new\nlines \n".to_owned())).collect();
        let expected = "a\n```console\n$ one\nnew\nlines\n$ two\nnew\nlines\n```\nz\n";
        assert_eq!(with_outputs(text, &outputs), expected);
    }

    #[test]
    fn times_and_rounding_are_replaced_and_nothing_else() {
        let words = words(["took 0.31 s, 12 ops", "", "(4.5 ms) 1.5e-7 e-mail"].iter());
        assert_eq!(words, [vec!["took", "[TIME]", "s,", "12", "ops"], vec!["[TIME]", "ms)", "[SMALL]", "e-mail"]]);
    }
}
