"""The path of one make can be followed."""

from tools.dev.path_of_a_make import record_one_make


async def test_the_path_of_a_make_leads_through_gateway_client_stages_and_engine() -> None:
    recorder = await record_one_make()
    assert {
        "payments/gateway/payments_api.py",
        "payments/client/command_client.py",
        "payments/stages/payments.py",
        "payments/stages/accounts.py",
        "exactstage/committer.py",
    } <= set(recorder.visits)
    assert recorder.calls > len(recorder.functions) > len(set(recorder.visits))
