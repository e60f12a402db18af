"""Write a tiny Llama model with random weights into the folder named in argv: `tiny_llama.py FOLDER`.

Runs in the environment of vLLM, not in that of the tests. Its tokenizer knows single ASCII characters only, so a
prompt of n characters has n tokens: a test knows the length of a prompt without asking the server that it tests.
"""

from __future__ import annotations

import string
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONTEXT_TOKENS = 2048
SPECIAL = ("<s>", "</s>", "<pad>")


def tokenizer() -> PreTrainedTokenizerFast:
    characters = sorted({*string.ascii_letters, *string.digits, *string.punctuation, "Ġ", "Ċ"})  # Ġ: space, Ċ: newline
    numbers = {text: number for number, text in enumerate((*SPECIAL, *characters))}
    made = Tokenizer(models.BPE(vocab=numbers, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    start, end, pad = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=start, eos_token=end, pad_token=pad, model_max_length=CONTEXT_TOKENS
    )


def model(tokens: int) -> LlamaForCausalLM:
    torch.manual_seed(20261124)
    config = LlamaConfig(
        vocab_size=tokens,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_TOKENS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).to(torch.bfloat16)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    words = tokenizer()
    words.save_pretrained(folder)
    model(len(words)).save_pretrained(folder)
