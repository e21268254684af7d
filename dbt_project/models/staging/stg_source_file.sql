-- grain: one row per load of a file into landing, with the file behind it
with

load_entry as (select * from {{ source('ledger', 'load') }}),
file_entry as (select * from {{ source('ledger', 'file') }}),

final as (
    select
        load_entry.load_id,
        file_entry.file_sha256,
        load_entry.feed,
        file_entry.file_name,
        file_entry.file_bytes,
        load_entry.status,
        load_entry.contract_version,
        load_entry.encoding,
        load_entry.extract_date,
        load_entry.rows_in,
        load_entry.rows_landed,
        load_entry.rows_unchanged,
        load_entry.rows_quarantined,
        load_entry.rows_exact_duplicate,
        load_entry.rows_ended,
        load_entry.rows_skipped
    from load_entry
    inner join file_entry on load_entry.file_id = file_entry.file_id
    where {{ known_loads('load_entry.load_id') }}
)

select * from final
