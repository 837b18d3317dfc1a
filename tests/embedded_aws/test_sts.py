"""STS: what the provider and ops doctor ask."""

from tests.embedded_aws.conftest import ClientFactory


def test_a_user_is_one_of_iam(client: ClientFactory) -> None:
    found = client("sts").get_caller_identity()

    assert found["Arn"] == "arn:aws:iam::123456789012:user/moto"
    assert found["UserId"].startswith("AIDA")
    assert found["Account"] == "123456789012"
