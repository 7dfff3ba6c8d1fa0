"""Findings about a model folder."""

from collections.abc import Iterator

from medeyes_verl.doctor.check import Finding


def model(folder: str) -> Iterator[Finding]:
    """Check that the processor loads and that its chat template has a place for an image in a user turn."""
    from transformers import AutoProcessor

    from medeyes_verl.gaze.conversation import Conversation

    subject = f"{folder}: processor"
    try:
        processor = AutoProcessor.from_pretrained(folder)
    except Exception as error:  # whatever it is, it is the finding
        yield Finding(subject, False, f"{type(error).__name__}: {error}", "give the folder of a vision-language model")
        return
    takes_images = getattr(processor, "image_processor", None) is not None
    yield Finding(subject, takes_images, type(processor).__name__, "a vision-language model is needed")
    subject = f"{folder}: chat template shows images between turns"
    try:
        messages = [{"role": "user", "content": "question"}]
        Conversation(processor, messages, views=[], response_length=1)
    except Exception as error:
        yield Finding(subject, False, str(error), "set a ChatML-like chat_template in the model's processor")
        return
    yield Finding(subject, True, "yes")
