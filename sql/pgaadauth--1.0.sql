\echo Use "CREATE EXTENSION pgaadauth CASCADE" to load this file. \quit
-- On Azure the functions belong to an extension of this name. Here they belong to aadauth, and this
-- one exists so that scripts with CREATE EXTENSION IF NOT EXISTS pgaadauth run.
