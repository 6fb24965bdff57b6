//! `hanc recipe`

use std::path::Path;

use clap::{Args, Subcommand};
use hanc_models::RecipeText;
use serde_json::{Value, json};

use super::{Outcome, text};
use crate::error::Failure;
use crate::train::Recipe;
use crate::train::recipe;

/// Lists, prints and checks training recipes.
#[derive(Debug, Args)]
pub(super) struct RecipeVerb {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the recipes that come with hanc
    Ls,
    /// Prints a recipe: as it was written, or every key of it
    Cat {
        /// A recipe that `hanc recipe ls` lists, or a file
        name: String,
        /// Values in place of the recipe's, `optimiser.lr=3e-4`; every key is printed
        #[arg(value_name = "KEY=VALUE")]
        overrides: Vec<String>,
        /// Print every key, defaults included
        #[arg(long)]
        resolved: bool,
    },
    /// Checks a recipe
    Validate {
        /// A file, or a recipe that `hanc recipe ls` lists
        file: String,
        /// Values in place of the recipe's, `optimiser.lr=3e-4`
        #[arg(value_name = "KEY=VALUE")]
        overrides: Vec<String>,
    },
}

impl RecipeVerb {
    pub fn run(&self) -> Result<Outcome, Failure> {
        match &self.action {
            Action::Ls => Ok(list()),
            Action::Cat { name, overrides, resolved } => cat(name, overrides, *resolved),
            Action::Validate { file, overrides } => validate(file, overrides),
        }
    }
}

/// The recipe of a name or file, with overrides.
pub(super) fn load(name: &str, overrides: &[String]) -> Result<Recipe, Failure> {
    let text = source(name)?;
    recipe::read(&text, name, overrides).map_err(|error| Failure::at(&*error.origin, &error))
}

fn list() -> Outcome {
    let recipes = hanc_models::recipes();
    let rows: Vec<_> = recipes.iter().map(|recipe| vec![recipe.name.to_owned(), recipe.doc().to_owned()]).collect();
    let json: Vec<_> = recipes.iter().map(|recipe| json!({"name": recipe.name, "doc": recipe.doc()})).collect();
    Outcome::new(text::table(&["name", "what it is for"], &rows), json!({"recipes": json}))
}

fn cat(name: &str, overrides: &[String], resolved: bool) -> Result<Outcome, Failure> {
    let recipe = load(name, overrides)?;
    let every = resolved || !overrides.is_empty();
    let text = if every { recipe.to_toml() } else { source(name)? };
    let json = json!({"name": name, "toml": text, "recipe": value(&recipe)});
    Ok(Outcome::new(text::clean(text.trim_end()), json))
}

fn validate(file: &str, overrides: &[String]) -> Result<Outcome, Failure> {
    let recipe = load(file, overrides)?;
    let text = format!("{file}: a recipe of {} with batches of {}", recipe.train.length(), recipe.train.batch);
    Ok(Outcome::new(text, json!({"file": file, "valid": true, "recipe": value(&recipe)})))
}

fn value(recipe: &Recipe) -> Value {
    serde_json::to_value(recipe).unwrap_or_default()
}

/// The text of a recipe of ours, or of a file.
fn source(name: &str) -> Result<String, Failure> {
    let ours = |recipe: &&RecipeText| recipe.name == name;
    if let Some(recipe) = hanc_models::recipes().iter().find(ours) {
        return Ok(recipe.text.to_owned());
    }
    std::fs::read_to_string(Path::new(name)).map_err(|error| {
        let names: Vec<_> = hanc_models::recipes().iter().map(|recipe| recipe.name).collect();
        let help = format!("Give the path of a recipe, or one of {}.", names.join(", "));
        Failure::new("E103", name, error.to_string()).help(help)
    })
}
