-- The ledger: one append-only, hash-chained table of events, and the head of each trial's chain.
create table event (
    trial text not null,
    seq integer not null,
    kind text not null,
    key text not null,
    subject text not null,
    recorded_at text not null,
    body_sha256 text not null,
    prev text not null,
    hash text not null,
    body text,
    primary key (trial, seq),
    unique (trial, kind, key),
    check (instr(key, char(10)) = 0 and instr(subject, char(10)) = 0)
) strict;

create index event_subject on event (subject, kind);

create index event_kind on event (trial, kind, seq);

create table head (
    trial text primary key,
    seq integer not null,
    hash text not null
) strict;

create trigger event_no_update before update on event
begin
    select raise(abort, 'event is append-only');
end;

create trigger event_no_delete before delete on event
begin
    select raise(abort, 'event is append-only');
end;
