//! The root: where job files, settings, state and reports are found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Place, did_you_mean};
use crate::disk;
use crate::error::{Error, Remedy};
use crate::job::{self, Job, JobFile, Settings};

/// The file with the settings that all jobs share.
const SETTINGS_FILE: &str = "tieout.toml";
/// The folder of the job files.
const JOBS_FOLDER: &str = "jobs";

/// A root with its settings.
#[derive(Clone, Debug)]
pub struct Project {
    /// The root; empty for the current folder, so that messages show paths as one would type them.
    pub root: PathBuf,
    /// What all jobs share.
    pub settings: Settings,
}

impl Project {
    /// The root that was named, else the nearest folder at or above the current one that has `tieout.toml` or `jobs/`.
    ///
    /// # Errors
    /// `MendJob` if there is none, or if `tieout.toml` has mistakes.
    pub fn find(named: Option<&Path>) -> Result<Project, Error> {
        let root = find_root(named)?;
        let settings = read_settings(&root)?;
        Ok(Project { root, settings })
    }

    /// As [`Project::find`], with the named jobs, or all, as [`Project::check`] gives them.
    ///
    /// # Errors
    /// `MendJob` with every mistake of `tieout.toml` and of these jobs' files: a mistake in one never hides those of others.
    pub fn find_and_check(named: Option<&Path>, jobs: &[String]) -> Result<(Project, Vec<Job>), Error> {
        let root = find_root(named)?;
        let (settings, mistakes) = match read_settings(&root) {
            Ok(settings) => (settings, None),
            // What a job inherits is never wrong in the job: the settings as they are without a file do as well.
            Err(error) if error.remedy == Remedy::MendJob => (Settings::default(), Some(error)),
            Err(error) => return Err(error),
        };
        let project = Project { root, settings };
        match (mistakes, project.check(jobs)) {
            (None, checked) => checked.map(|jobs| (project, jobs)),
            (Some(mistakes), Ok(_)) => Err(mistakes),
            (Some(mut mistakes), Err(of_jobs)) => {
                mistakes.diagnostics.extend(of_jobs.diagnostics);
                Err(mistakes)
            }
        }
    }

    /// The same root with its settings as they are now.
    ///
    /// # Errors
    /// `MendJob` if `tieout.toml` has mistakes.
    pub fn read_again(&self) -> Result<Project, Error> {
        Ok(Project { root: self.root.clone(), settings: read_settings(&self.root)? })
    }

    /// The file with the settings; it may be absent.
    pub fn settings_path(&self) -> PathBuf {
        self.root.join(SETTINGS_FILE)
    }

    /// The paths of all job files, by name.
    ///
    /// # Errors
    /// `MendJob` if there is no folder of job files.
    pub fn job_paths(&self) -> Result<Vec<PathBuf>, Error> {
        let folder = self.root.join(JOBS_FOLDER);
        let Ok(entries) = std::fs::read_dir(&folder) else {
            return Err(Error::new(Remedy::MendJob, Place::of(folder.display().to_string()), "there is no such folder")
                .hint("job files stand in `jobs/`; `tieout demo` makes some to look at"));
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
        paths.sort();
        Ok(paths)
    }

    /// All job files, by name.
    pub fn job_files(&self) -> Result<Vec<JobFile>, Error> {
        self.job_paths()?.iter().map(|path| self.job_file(path)).collect()
    }

    /// Checks job files against each other. Each gives its job, or what is wrong with it; the mistakes of one do not stop
    /// the others. The answers stand in the order of the files.
    pub fn check_each(&self, files: &[JobFile]) -> Vec<Result<Job, Error>> {
        let mut mistakes: BTreeMap<&str, Vec<Diagnostic>> = BTreeMap::new();
        // What two right files do to each other is looked for among right files only, so a mended round can find more.
        let jobs = loop {
            let right: Vec<JobFile> = files.iter().filter(|file| !mistakes.contains_key(file.path.as_str())).cloned().collect();
            match job::check(&right, &self.settings) {
                Ok(jobs) => break jobs,
                Err(found) => {
                    let known = mistakes.len();
                    for diagnostic in found {
                        if let Some(file) = files.iter().find(|file| file.path == diagnostic.place.origin) {
                            mistakes.entry(&file.path).or_default().push(diagnostic);
                        }
                    }
                    if mistakes.len() == known {
                        break Vec::new();
                    }
                }
            }
        };
        let mut jobs: BTreeMap<String, Job> = jobs.into_iter().map(|job| (job.source.path.clone(), job)).collect();
        let of_file = |file: &JobFile| match (jobs.remove(&file.path), mistakes.remove(file.path.as_str())) {
            (Some(job), _) => Ok(job),
            (None, found) => {
                let diagnostics = found.unwrap_or_else(|| vec![Diagnostic::new(Place::of(&file.path), "the job file cannot be checked")]);
                Err(Error { remedy: Remedy::MendJob, diagnostics, passing: None })
            }
        };
        files.iter().map(of_file).collect()
    }

    /// A job file with its text.
    ///
    /// # Errors
    /// `GiveAccess` if it cannot be read, `MendJob` if it is not text.
    pub fn job_file(&self, path: &Path) -> Result<JobFile, Error> {
        let shown = path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        Ok(JobFile { path: shown, text: read_text(path)? })
    }

    /// Checks the named jobs, or all, against each other.
    ///
    /// # Errors
    /// `MendJob` with every mistake of these jobs' files.
    pub fn check(&self, names: &[String]) -> Result<Vec<Job>, Error> {
        if names.is_empty() {
            let files = self.job_files()?;
            return job::check(&files, &self.settings).map_err(|diagnostics| Error { remedy: Remedy::MendJob, diagnostics, passing: None });
        }
        let mut jobs = Vec::new();
        let mut diagnostics = Vec::new();
        for name in names {
            match self.job(name) {
                Ok(job) => jobs.push(job),
                Err(error) => diagnostics.extend(error.diagnostics),
            }
        }
        Error::of(Remedy::MendJob, diagnostics).map_or(Ok(jobs), Err)
    }

    /// One job, by its name, or by its path if that has a `/` or ends in `.toml`: relative to the current folder, else to the
    /// root. It is checked against the other jobs of the root; their own mistakes do not stop it.
    ///
    /// # Errors
    /// `MendJob` if there is no such job, or with every mistake of its file.
    pub fn job(&self, name: &str) -> Result<Job, Error> {
        let is_path = name.contains('/') || name.ends_with(".toml");
        let places = match is_path {
            true => vec![PathBuf::from(name), self.root.join(name)],
            false => vec![self.root.join(JOBS_FOLDER).join(format!("{name}.toml"))],
        };
        let Some(path) = places.iter().find(|path| path.is_file()) else {
            return Err(self.no_such_job(name, &places));
        };
        let file = self.job_file(&self.as_listed(path))?;
        let mut files = self.job_files().unwrap_or_default();
        if !files.iter().any(|other| other.path == file.path) {
            files.push(file.clone());
        }
        let mistakes: Vec<Diagnostic> = match job::check(&files, &self.settings) {
            Ok(_) => Vec::new(),
            Err(all) => all.into_iter().filter(|d| d.place.origin == file.path).collect(),
        };
        if let Some(error) = Error::of(Remedy::MendJob, mistakes) {
            return Err(error);
        }
        let jobs =
            job::check(std::slice::from_ref(&file), &self.settings).map_err(|diagnostics| Error { remedy: Remedy::MendJob, diagnostics, passing: None })?;
        jobs.into_iter().next().ok_or_else(|| self.no_such_job(name, &places))
    }

    /// The path under which a job file is listed, if it stands in the folder of the job files: no job is two jobs because its
    /// path is written in another way.
    fn as_listed(&self, path: &Path) -> PathBuf {
        let whole = |path: &Path| std::fs::canonicalize(path).ok();
        let folder = self.root.join(JOBS_FOLDER);
        match (whole(path), whole(&folder)) {
            (Some(file), Some(jobs)) if file.parent() == Some(&jobs) => file.file_name().map_or_else(|| path.to_owned(), |name| folder.join(name)),
            _ => path.to_owned(),
        }
    }

    /// `places` are those in which it was looked for, at least one.
    fn no_such_job(&self, name: &str, places: &[PathBuf]) -> Error {
        let names: Vec<String> = self.job_names();
        let mut shown: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        shown.dedup();
        let mut error = Error::new(Remedy::MendJob, Place::of(&shown[0]), format!("there is no job `{name}`"));
        if let [_, elsewhere] = shown.as_slice() {
            error = error.seen(format!("nor is there `{elsewhere}`"));
        }
        if !names.is_empty() {
            error = error.seen(format!("jobs of this root: {}", names.join(", ")));
        }
        match did_you_mean(name, names.iter().map(String::as_str)) {
            Some(close) => error.hint(format!("did you mean `{close}`?")),
            None => error.hint("a job is named by the stem of its file in `jobs/`"),
        }
    }

    /// The names of all job files.
    pub fn job_names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(JOBS_FOLDER)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
            .collect();
        names.sort();
        names
    }

    /// The folder with a job's state.
    pub fn state_folder(&self, job: &str) -> PathBuf {
        self.root.join(&self.settings.state).join(job)
    }

    /// The folder with all reports.
    pub fn reports_folder(&self) -> PathBuf {
        self.root.join(&self.settings.reports)
    }

    /// The report folder of a run: by its id, by `JOB/ID`, or `last` and `JOB/last` for the newest.
    ///
    /// # Errors
    /// `MendJob` if there is no such run.
    pub fn report_folder(&self, run: &str) -> Result<PathBuf, Error> {
        let (job, id) = match run.split_once('/') {
            Some((job, id)) => (Some(job), id),
            None => (None, run),
        };
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(self.reports_folder()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "outbox" || job.is_some_and(|job| job != name) {
                continue;
            }
            for report in std::fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                let run = report.file_name().to_string_lossy().into_owned();
                if (id == "last" || run == id) && report.path().join("report.json").is_file() {
                    found.push((run, report.path()));
                }
            }
        }
        found.sort_by_key(|(run, _)| by_time(run));
        match found.as_slice() {
            [] => Err(Error::new(Remedy::MendJob, Place::of(self.reports_folder().display().to_string()), format!("there is no run `{run}`"))
                .hint("`tieout history` lists the runs; name one by its id, as JOB/ID, or as `last`")),
            [.., (newest, path)] if id == "last" || found.len() == 1 => {
                let _ = newest;
                Ok(path.clone())
            }
            several => {
                let names: Vec<String> =
                    several.iter().filter_map(|(run, path)| Some(format!("{}/{run}", path.parent()?.file_name()?.to_string_lossy()))).collect();
                Err(Error::new(Remedy::MendJob, Place::of(self.reports_folder().display().to_string()), format!("several jobs have a run `{run}`"))
                    .seen(names.join(", "))
                    .hint("name it as JOB/ID"))
            }
        }
    }
}

/// Run ids in the order of time: those of one second are numbered from 2.
pub fn by_time(run: &str) -> (String, u32) {
    match run.split_once('-') {
        Some((start, number)) => (start.to_owned(), number.parse().unwrap_or(0)),
        None => (run.to_owned(), 1),
    }
}

fn read_settings(root: &Path) -> Result<Settings, Error> {
    let path = root.join(SETTINGS_FILE);
    if !path.exists() {
        return Ok(Settings::default());
    }
    job::read_settings(SETTINGS_FILE, &read_text(&path)?).map_err(|diagnostics| Error { remedy: Remedy::MendJob, diagnostics, passing: None })
}

fn find_root(named: Option<&Path>) -> Result<PathBuf, Error> {
    match named {
        Some(root) if root.is_dir() => Ok(root.to_owned()),
        Some(root) => {
            Err(Error::new(Remedy::MendJob, Place::of(root.display().to_string()), "the root is not a folder").hint("name a folder with `jobs/` in it"))
        }
        None => nearest_root(),
    }
}

fn nearest_root() -> Result<PathBuf, Error> {
    let has = |folder: &Path| folder.join(SETTINGS_FILE).is_file() || folder.join(JOBS_FOLDER).is_dir();
    if has(Path::new(".")) {
        return Ok(PathBuf::new());
    }
    let current = std::env::current_dir().unwrap_or_default();
    current.ancestors().find(|folder| has(folder)).map(Path::to_owned).ok_or_else(|| {
        Error::new(Remedy::MendJob, Place::of(current.display().to_string()), "no `jobs/` and no `tieout.toml` here or in any folder above")
            .hint("go to the folder that holds `jobs/`, name it with `--root`, or make an example with `tieout demo`")
    })
}

fn read_text(path: &Path) -> Result<String, Error> {
    let contents = disk::read(path)?;
    String::from_utf8(contents.bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() as u64 + 1;
        Error::new(Remedy::MendJob, Place::of(path.display().to_string()).line(line), "this is not UTF-8 text").hint("save the file as UTF-8")
    })
}
