-- grain: one row per load of a file into landing, with the hash of the file behind it
with

source_file as (select * from {{ ref('stg_source_file') }}),

final as (
    select
        {{ surrogate_key(['load_id']) }} as source_file_key,
        load_id,
        file_sha256,
        feed,
        file_name,
        file_bytes,
        status,
        contract_version,
        encoding,
        extract_date,
        rows_in,
        rows_landed,
        rows_unchanged,
        rows_quarantined,
        rows_exact_duplicate,
        rows_ended,
        rows_skipped
    from source_file
)

select * from final
