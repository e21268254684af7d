-- Matching: which registered-poor person is which pupil, where the ID numbers do not say it. Made by ingest, the only
-- reader of names; read by dbt. Tokens, levels of agreement and scores, no personal value.

create schema matching authorization edupa_ingest;
comment on schema matching is 'Registered-poor persons and the pupils that they are taken for, or that an officer has to look at.';

set role edupa_ingest;

create table matching.run (
    run_id         bigint generated always as identity primary key,
    finished_at    timestamptz not null default clock_timestamp(),
    last_load_id   bigint not null,
    engine_version text not null,
    poverty_years  integer[] not null,
    seconds        numeric(9,1) not null
);
comment on table matching.run is 'grain: one row per run of the matching that had something to do';
comment on column matching.run.last_load_id is 'last load of the ledger that the run saw';
comment on column matching.run.engine_version is 'version of the rules and the first digits of a hash over rules and code';

create table matching.person_pair (
    poverty_year       integer not null,
    poor_person_token  text not null,
    pupil_person_token text not null,
    pupil_feed         text not null,
    method             text not null check (method in ('name_birth_village', 'name_birth_guardian', 'reviewed')),
    score              numeric(5,4) not null check (score between 0 and 1),
    weight_bits        numeric(6,2) not null,
    status             text not null check (status in ('matched', 'review')),
    preference         integer not null check (preference >= 1),
    explanation        text not null,
    explanation_zh     text not null,
    explanation_en     text not null,
    case_number        text not null check (case_number ~ '^[0-9A-F]{16}$'),
    engine_version     text not null,
    poor_load_id       bigint not null,
    pupil_load_id      bigint not null,
    load_id            bigint not null,
    ended_load_id      bigint,
    primary key (poverty_year, poor_person_token, pupil_person_token, load_id)
);
create unique index person_pair_current on matching.person_pair (poverty_year, poor_person_token, pupil_person_token)
    where ended_load_id is null;
create unique index person_pair_one_pupil on matching.person_pair (poverty_year, poor_person_token)
    where ended_load_id is null and status = 'matched';
create unique index person_pair_one_poor on matching.person_pair (poverty_year, pupil_person_token)
    where ended_load_id is null and status = 'matched';
create index person_pair_case on matching.person_pair (case_number);
comment on table matching.person_pair is 'grain: one row per poverty year × poor person × pupil × version: pairs that the ID numbers do not give, matched by score or decision, or held for review; equal tokens are no pair here';
comment on column matching.person_pair.poverty_year is 'year of the poverty list; the register is that of the school year that begins in it';
comment on column matching.person_pair.pupil_feed is 'feed that holds the pupil: the pupil register, or recognitions for aid where there is no register';
comment on column matching.person_pair.method is 'what carries the match beside the name: birth date and village, birth date and guardian, or an officer''s decision';
comment on column matching.person_pair.score is 'probability that both are one person (Fellegi-Sunter)';
comment on column matching.person_pair.weight_bits is 'sum of the weights of all comparisons and of the prior, as log2 of the odds';
comment on column matching.person_pair.preference is '1: the best candidate of the poor person';
comment on column matching.person_pair.explanation is 'level of each comparison, as codes of ingest/matching.yaml';
comment on column matching.person_pair.case_number is 'of the review queue: hash over both tokens, so that a decision holds in every year';
comment on column matching.person_pair.poor_load_id is 'load that brought the poor person''s row';
comment on column matching.person_pair.pupil_load_id is 'load that brought the pupil''s row';
comment on column matching.person_pair.load_id is 'last load of the ledger when the pair was found';
comment on column matching.person_pair.ended_load_id is 'last load of the ledger when it was found no more; null: still holds';

reset role;
