//! What a session gives its driver to work with.

use std::sync::Arc;

use super::{DISK, Session, SessionError};
use crate::exec::{Executor, OsExecutor, TREE_VARIABLE};
use crate::schedule::{
    Driver, DriverOptions, FileView, JobTokens, Limits, Lineage, Mode, Ports, RUNNING_VARIABLE,
    RunEvent, Said,
};
use crate::state::{Engine, EngineOptions};

impl Session {
    pub(super) fn driver(
        &self,
        files: Arc<dyn FileView>,
        mode: Mode,
        observe: Box<dyn FnMut(RunEvent)>,
    ) -> Result<Driver, SessionError> {
        let options = DriverOptions {
            mode,
            limits: Limits {
                jobs: self.options.jobs.get(),
                pools: self.plan.pool_sizes().to_vec(),
                failures_max: self.options.failures_max,
            },
            demand: self.options.demand,
        };
        let ports = Arc::new(self.ports(files)?);
        let plan = Arc::clone(&self.plan);
        Ok(Driver::new(
            plan,
            ports,
            options,
            self.inbox.reports(),
            observe,
        )?)
    }

    pub(super) fn ports(&self, files: Arc<dyn FileView>) -> Result<Ports, SessionError> {
        let settings = self.plan.settings();
        let engine = Engine::open(
            &DISK,
            &self.root,
            EngineOptions {
                cache_dir: settings.cache_dir.as_ref().map(|dir| self.root.join(dir)),
                cache_size: settings.cache_size_bytes,
                store: self.options.store,
                access: self.options.access,
            },
        );
        let processes = OsExecutor::new(self.options.exec.clone())?;
        let processes = Arc::new(processes.with_environment(&self.options.environment));
        let mut environment = self.options.environment.clone();
        let inherited = environment
            .iter()
            .find(|(name, _)| name == RUNNING_VARIABLE)
            .map(|(_, value)| value.clone());
        let lineage = match self.file {
            Some(_) => Lineage::new(self.root.clone(), inherited.as_deref()),
            None => Lineage::unnamed(),
        };
        // Our own marks are no part of what a task is made from.
        environment.retain(|(name, _)| name != RUNNING_VARIABLE && name != TREE_VARIABLE);
        Ok(Ports {
            root: self.root.clone(),
            engine,
            executor: Arc::clone(&processes) as Arc<dyn Executor>,
            processes,
            files,
            environment,
            lineage,
            tokens: JobTokens::new(
                settings.jobserver,
                self.options.jobs.get(),
                &self.options.environment,
                self.options.spill_dir.clone(),
            ),
            spill_dir: self.options.spill_dir.clone(),
            said: Said::default(),
        })
    }
}
