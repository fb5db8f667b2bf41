"""The attempts at deliveries. The last one stands in the row of the finished delivery, the others in a row each."""

ATTEMPTS_OF_IDS = """
    (SELECT delivery_id, number, outcome, status_code, took_ms, attempted_at
     FROM attempts
     WHERE delivery_id = ANY(CAST(:ids AS bigint[]))
     UNION ALL
     SELECT id, attempt, last_outcome, last_status_code, last_took_ms, last_attempted_at
     FROM delivery_history
     WHERE id = ANY(CAST(:ids AS bigint[])) AND last_attempted_at IS NOT NULL)
"""
"""The attempts at the deliveries of the parameter `ids`, for a FROM."""
