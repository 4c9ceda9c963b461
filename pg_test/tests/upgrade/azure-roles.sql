--
-- PostgreSQL database cluster dump
--

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

--
-- Roles
--

CREATE ROLE "alice@contoso.com";
ALTER ROLE "alice@contoso.com" WITH NOSUPERUSER INHERIT CREATEROLE CREATEDB LOGIN NOREPLICATION NOBYPASSRLS;
SECURITY LABEL FOR pgaadauth ON ROLE "alice@contoso.com" IS 'aadauth,admin';
SECURITY LABEL FOR "pgaadauth-int" ON ROLE "alice@contoso.com" IS 'type=user,oid=a11ce000-0000-4000-8000-000000000001,tenant_id=6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01,admin';
CREATE ROLE analysts;
ALTER ROLE analysts WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS;
SECURITY LABEL FOR pgaadauth ON ROLE analysts IS 'aadauth,oid=a4a10000-0000-4000-8000-000000000011,type=group';
SECURITY LABEL FOR "pgaadauth-int" ON ROLE analysts IS 'type=group,oid=a4a10000-0000-4000-8000-000000000011,tenant_id=6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01';
CREATE ROLE azure_pg_admin;
ALTER ROLE azure_pg_admin WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE "carol@contoso.com";
ALTER ROLE "carol@contoso.com" WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS;
SECURITY LABEL FOR "pgaadauth-int" ON ROLE "carol@contoso.com" IS 'type=user,oid=ca401000-0000-4000-8000-000000000003,tenant_id=6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01';
SECURITY LABEL FOR pgaadauth ON ROLE "carol@contoso.com" IS 'aadauth,oid=ca401000-0000-4000-8000-000000000003,type=user,mfa';
CREATE ROLE reporting;
ALTER ROLE reporting WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS;
SECURITY LABEL FOR pgaadauth ON ROLE reporting IS 'aadauth';
SECURITY LABEL FOR "pgaadauth-int" ON ROLE reporting IS 'type=service,oid=4e904700-0000-4000-8000-000000000021,tenant_id=6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01';

--
-- User Configurations
--

ALTER ROLE reporting SET search_path TO 'public';


--
-- Role memberships
--

GRANT analysts TO "carol@contoso.com";
GRANT azure_pg_admin TO "alice@contoso.com" WITH ADMIN OPTION;
GRANT pg_monitor TO azure_pg_admin WITH ADMIN OPTION;


--
-- PostgreSQL database cluster dump complete
--
