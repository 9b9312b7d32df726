CREATE TABLE "registered_models" (
	name VARCHAR(256) NOT NULL, 
	creation_time BIGINT, 
	last_updated_time BIGINT, 
	description VARCHAR(5000), 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_pk PRIMARY KEY (workspace, name)
);
INSERT INTO registered_models (name, creation_time, last_updated_time, description, workspace) VALUES ('Churn Model', 1795453930900, 1795453932029, 'who leaves', 'default');
INSERT INTO registered_models (name, creation_time, last_updated_time, description, workspace) VALUES ('price', 1795453930994, 1795453932363, NULL, 'default');
INSERT INTO registered_models (name, creation_time, last_updated_time, description, workspace) VALUES ('logged', 1795453934919, 1795453934984, NULL, 'default');
CREATE TABLE "registered_model_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	name VARCHAR(256) NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_tag_pk PRIMARY KEY (workspace, "key", name), 
	CONSTRAINT fk_registered_model_tags_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON UPDATE CASCADE
);
INSERT INTO registered_model_tags (key, value, name, workspace) VALUES ('team', 'växjö', 'Churn Model', 'default');
CREATE TABLE "registered_model_aliases" (
	alias VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_alias_pk PRIMARY KEY (workspace, name, alias), 
	CONSTRAINT fk_registered_model_aliases_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
INSERT INTO registered_model_aliases (alias, version, name, workspace) VALUES ('Champion', 2, 'Churn Model', 'default');
INSERT INTO registered_model_aliases (alias, version, name, workspace) VALUES ('old', 1, 'Churn Model', 'default');
CREATE TABLE "model_versions" (
	name VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	creation_time BIGINT, 
	last_updated_time BIGINT, 
	description VARCHAR(5000), 
	user_id VARCHAR(256), 
	current_stage VARCHAR(20), 
	source VARCHAR(500), 
	run_id VARCHAR(32), 
	status VARCHAR(20), 
	status_message VARCHAR(500), 
	run_link VARCHAR(500), 
	storage_location VARCHAR(500), 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT model_version_pk PRIMARY KEY (workspace, name, version), 
	CONSTRAINT fk_model_versions_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON UPDATE CASCADE
);
INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, user_id, current_stage, source, run_id, status, status_message, run_link, storage_location, workspace) VALUES ('Churn Model', 1, 1795453931725, 1795453931725, 'round 0', NULL, 'None', 'runs:/a3f0e2a8a1944f86af6b63216edbc904/model', 'a3f0e2a8a1944f86af6b63216edbc904', 'READY', NULL, NULL, 'runs:/a3f0e2a8a1944f86af6b63216edbc904/model', 'default');
INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, user_id, current_stage, source, run_id, status, status_message, run_link, storage_location, workspace) VALUES ('Churn Model', 2, 1795453932029, 1795453932029, 'round 1', NULL, 'None', 'runs:/e35f612afe834a2796335a67675ec976/model', 'e35f612afe834a2796335a67675ec976', 'READY', NULL, NULL, 'runs:/e35f612afe834a2796335a67675ec976/model', 'default');
INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, user_id, current_stage, source, run_id, status, status_message, run_link, storage_location, workspace) VALUES ('price', 1, 1795453932363, 1795453932363, NULL, NULL, 'None', 'runs:/a024d840872e497ab70699ffac7bd760/m', 'a024d840872e497ab70699ffac7bd760', 'READY', NULL, NULL, 'runs:/a024d840872e497ab70699ffac7bd760/m', 'default');
INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, user_id, current_stage, source, run_id, status, status_message, run_link, storage_location, workspace) VALUES ('logged', 1, 1795453934984, 1795453934984, NULL, NULL, 'None', 'models:/m-ede76db916794826be3491006c5a87b1', '3d85964ee9d048fda678eaefb2a419d6', 'READY', NULL, NULL, '@ROOT@/mlruns/0/models/m-ede76db916794826be3491006c5a87b1/artifacts', 'default');
CREATE TABLE "model_version_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value TEXT, 
	name VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT model_version_tag_pk PRIMARY KEY (workspace, "key", name, version), 
	CONSTRAINT fk_model_version_tags_model_versions FOREIGN KEY(workspace, name, version) REFERENCES model_versions (workspace, name, version) ON UPDATE CASCADE
);
INSERT INTO model_version_tags (key, value, name, version, workspace) VALUES ('stage', 'x0', 'Churn Model', 1, 'default');
INSERT INTO model_version_tags (key, value, name, version, workspace) VALUES ('stage', 'x1', 'Churn Model', 2, 'default');
CREATE TABLE logged_models (
	model_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(500) NOT NULL, 
	artifact_location VARCHAR(1000) NOT NULL, 
	creation_timestamp_ms BIGINT NOT NULL, 
	last_updated_timestamp_ms BIGINT NOT NULL, 
	status INTEGER NOT NULL, 
	lifecycle_stage VARCHAR(32), 
	model_type VARCHAR(500), 
	source_run_id VARCHAR(32), 
	status_message VARCHAR(1000), 
	CONSTRAINT logged_models_pk PRIMARY KEY (model_id), 
	CONSTRAINT logged_models_lifecycle_stage_check CHECK (lifecycle_stage IN ('active', 'deleted')), 
	CONSTRAINT fk_logged_models_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id, status_message) VALUES ('m-ede76db916794826be3491006c5a87b1', 0, 'py', '@ROOT@/mlruns/0/models/m-ede76db916794826be3491006c5a87b1/artifacts', 1795453932753, 1795453934870, 2, 'active', NULL, '3d85964ee9d048fda678eaefb2a419d6', NULL);
CREATE TABLE "runs" (
	run_uuid VARCHAR(32) NOT NULL, 
	name VARCHAR(250), 
	source_type VARCHAR(20), 
	source_name VARCHAR(500), 
	entry_point_name VARCHAR(50), 
	user_id VARCHAR(256), 
	status VARCHAR(9), 
	start_time BIGINT, 
	end_time BIGINT, 
	source_version VARCHAR(50), 
	lifecycle_stage VARCHAR(20), 
	artifact_uri VARCHAR(200), 
	experiment_id INTEGER, deleted_time BIGINT, 
	CONSTRAINT run_pk PRIMARY KEY (run_uuid), 
	CONSTRAINT source_type CHECK (source_type IN ('NOTEBOOK', 'JOB', 'LOCAL', 'UNKNOWN', 'PROJECT')), 
	CONSTRAINT runs_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CHECK (status IN ('SCHEDULED', 'FAILED', 'FINISHED', 'RUNNING', 'KILLED'))
);
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id, deleted_time) VALUES ('a3f0e2a8a1944f86af6b63216edbc904', 'resilient-midge-303', 'UNKNOWN', '', '', 'root', 'FINISHED', 1795453931361, 1795453931675, '', 'active', '@ROOT@/mlruns/0/a3f0e2a8a1944f86af6b63216edbc904/artifacts', 0, NULL);
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id, deleted_time) VALUES ('e35f612afe834a2796335a67675ec976', 'efficient-wren-705', 'UNKNOWN', '', '', 'root', 'FINISHED', 1795453931805, 1795453931972, '', 'active', '@ROOT@/mlruns/0/e35f612afe834a2796335a67675ec976/artifacts', 0, NULL);
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id, deleted_time) VALUES ('a024d840872e497ab70699ffac7bd760', 'whimsical-kite-367', 'UNKNOWN', '', '', 'root', 'FINISHED', 1795453932243, 1795453932317, '', 'active', '@ROOT@/mlruns/0/a024d840872e497ab70699ffac7bd760/artifacts', 0, NULL);
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id, deleted_time) VALUES ('3d85964ee9d048fda678eaefb2a419d6', 'receptive-wolf-843', 'UNKNOWN', '', '', 'root', 'FINISHED', 1795453932594, 1795453935162, '', 'active', '@ROOT@/mlruns/0/3d85964ee9d048fda678eaefb2a419d6/artifacts', 0, NULL);
