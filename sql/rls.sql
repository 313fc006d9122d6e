-- Who may see which row of the example tables, by the conventions of PostgREST and Supabase: a reader becomes the role
-- `authenticated`, and the claims of a verified token stand in the setting request.jwt.claims.
-- Superusers, roles with BYPASSRLS and the tables' owner see and write everything as ever: the embedded servers are used as the first.
-- Foreign keys are checked past all policies, forced or not; capture runs with the rights of who has migrated, who is past them too.

-- Roles belong to the server and not to this database: they may be there already, or appear while we look.
do $$
declare
    v_role text;
begin
    foreach v_role in array array['anon', 'authenticated'] loop
        if not exists (select from pg_roles r where r.rolname = v_role) then
            begin
                execute format('create role %I nologin', v_role);
            exception
                when duplicate_object or unique_violation then null;
                when insufficient_privilege then
                    raise exception 'the example tables need a role %, and % may not create it: run `create role % nologin` as who may',
                        v_role, current_user, v_role using errcode = 'insufficient_privilege';
            end;
        end if;
    end loop;
    -- Who has made a role need not be able to become it. Where this is refused, snapshots are read by somebody who can.
    if not pg_has_role(current_user, 'authenticated', 'member') then
        begin
            grant anon, authenticated to current_user;
        exception when insufficient_privilege then
            raise notice 'role % cannot become authenticated: `grant authenticated to %` as who may', current_user, current_user;
        end;
    end if;
    if not has_schema_privilege('authenticated', 'public', 'usage') then
        grant usage on schema public to authenticated;
    end if;
end $$;

-- Who asks. Claims that are absent, empty, or without a subject are nobody: they see nothing, whatever roles they name.
-- Claims that are no JSON are an error. `roles` wins over `role`, and provider_id over the subject, as in `auth`.
create schema rls;

create function rls.claims() returns json stable
return nullif(current_setting('request.jwt.claims', true), '')::json;

create function rls.subject() returns text stable
return case when json_typeof(rls.claims() -> 'sub') in ('string', 'number') then nullif(rls.claims() ->> 'sub', '') end;

-- What is not written as we write a number is no id: neither an error, nor `042` for 42.
create function rls.id(identity text) returns bigint immutable
return case when identity ~ '^(0|[1-9][0-9]{0,17})$' then identity::bigint end;

create function rls.user_id() returns bigint stable
return rls.id(rls.subject());

create function rls.provider_id() returns bigint stable
return case
    when rls.subject() is null then null
    when rls.claims() -> 'provider_id' is null then rls.user_id()
    when json_typeof(rls.claims() -> 'provider_id') in ('string', 'number') then rls.id(rls.claims() ->> 'provider_id')
end;

create function rls.has_role(role text) returns boolean stable
return rls.subject() is not null and exists (
    select
    from (select coalesce(rls.claims() -> 'roles', rls.claims() -> 'role')) given (roles),
         json_array_elements_text(case json_typeof(roles) when 'array' then roles else json_build_array(roles) end) each (name)
    where name = has_role.role
);

grant usage on schema rls to authenticated;
grant execute on all functions in schema rls to authenticated;

-- Supabase gives new tables of `public` to both roles with all rights: those go first.
-- Forced, so that a table is not open to whoever comes to own it, where its owner is past all policies anyway. Another owner
-- could not write, nor could pg_dump and the owners of payments read with row_security = off, which wants every row or an error.
do $$
declare
    v_table regclass;
    v_force boolean := (select r.rolsuper or r.rolbypassrls from pg_roles r where r.rolname = current_user);
begin
    foreach v_table in array array[
        'public.users', 'public.services', 'public.bookings', 'public.payments', 'public.availability', 'public.notifications',
        'public.system_notices', 'public.properties', 'public.saved_searches', 'public.property_alerts']::regclass[]
    loop
        execute format('revoke all on %s from public, anon, authenticated', v_table);
        execute format('alter table %s enable row level security', v_table);
        if v_force then
            execute format('alter table %s force row level security', v_table);
        end if;
    end loop;
end $$;

grant select on public.users, public.services, public.bookings, public.payments, public.availability, public.notifications,
    public.system_notices, public.properties, public.saved_searches, public.property_alerts to authenticated;
-- A stream tells nobody whom else an alert concerns: user_ids is not among its columns, only a snapshot's condition reads it. Who
-- lets clients query tables by themselves, as PostgREST does, gives them a view without it.

-- A call in a `select` of its own is made once a query, and not once a row.
create policy read on public.users for select to authenticated
    using (id = (select rls.user_id()) or (select rls.has_role('admin')));
create policy read on public.services for select to authenticated
    using ((select rls.subject()) is not null);
create policy read on public.bookings for select to authenticated
    using (customer_id = (select rls.user_id())
           or (provider_id = (select rls.provider_id()) and (select rls.has_role('provider')))
           or (select rls.has_role('admin')));
create policy read on public.payments for select to authenticated
    using (booking_id in (select b.id from public.bookings b where b.customer_id = (select rls.user_id()))
           or (select rls.has_role('admin')));
create policy read on public.availability for select to authenticated
    using ((provider_id = (select rls.provider_id()) and (select rls.has_role('provider'))) or (select rls.has_role('admin')));
create policy read on public.notifications for select to authenticated
    using (user_id = (select rls.user_id()) or (select rls.has_role('admin')));
create policy read on public.system_notices for select to authenticated
    using ((public and (select rls.subject()) is not null) or (select rls.has_role('admin')));
create policy read on public.properties for select to authenticated
    using ((select rls.subject()) is not null);
create policy read on public.saved_searches for select to authenticated
    using (user_id = (select rls.user_id()));
create policy read on public.property_alerts for select to authenticated
    using ((select rls.user_id()) = any (user_ids) or (select rls.has_role('admin')));
