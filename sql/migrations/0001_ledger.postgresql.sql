-- The ledger: one append-only, hash-chained table of events, and the head of each trial's chain.
create table event (
    trial text not null,
    seq bigint not null,
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
    check (position(chr(10) in key) = 0 and position(chr(10) in subject) = 0)
);

create index event_subject on event (subject, kind);

create index event_kind on event (trial, kind, seq);

create table head (
    trial text primary key,
    seq bigint not null,
    hash text not null
) with (fillfactor = 50);

create function event_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'event is append-only';
end
$$;

create trigger event_no_change before update or delete on event
for each row execute function event_append_only();

create trigger event_no_truncate before truncate on event
for each statement execute function event_append_only();
