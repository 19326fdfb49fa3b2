"""A policy that TRL trains, a language model of a few thousand weights made here: ``trl_policy.py OUT ALGORITHM``."""

import json
import sys
from pathlib import Path

import spy
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

out = Path(sys.argv[1])
words = ["<pad>", "<eos>", *"abcdefghij"]
tokens = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<pad>"))
tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<pad>", eos_token="<eos>", padding_side="left")


config = LlamaConfig(
    vocab_size=len(words),
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    pad_token_id=0,
    eos_token_id=1,
)
torch.manual_seed(1)
directory = str(out.parent / "model")  # the trainer loads it twice: the policy and its reference
LlamaForCausalLM(config).save_pretrained(directory)
tokenizer.save_pretrained(directory)


def early_letters(completions, **_):
    return [sum(word < "f" for word in completion.split()) / 6 for completion in completions]


trainer_class, config_class, options = {
    "GRPO": (GRPOTrainer, GRPOConfig, {}),
    "GRPO with an entropy bonus": (GRPOTrainer, GRPOConfig, {"entropy_coef": 0.01}),
    "RLOO": (RLOOTrainer, RLOOConfig, {}),
}[sys.argv[2]]
trainer = trainer_class(
    model=directory,
    reward_funcs=early_letters,
    args=config_class(
        output_dir=str(out.parent / "trl"),
        learning_rate=0.1,
        per_device_train_batch_size=4,
        num_generations=4,
        num_iterations=2,
        max_completion_length=6,
        max_grad_norm=0.1,
        beta=0.04,
        logging_steps=2,
        max_steps=8,
        eval_strategy="steps",
        eval_steps=4,
        per_device_eval_batch_size=4,
        save_strategy="no",
        report_to=["tensorboard"],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        seed=1,
        **options,
    ),
    train_dataset=Dataset.from_dict({"prompt": ["a b", "c d", "e f", "g h"] * 4}),
    eval_dataset=Dataset.from_dict({"prompt": ["a b"]}),
)
trainer.train()
spy.write(sys.argv[1], trainer.model)
path = out.with_name(f"{out.stem}.0.json")
path.write_text(json.dumps({**json.loads(path.read_text()), "rows": trainer.state.log_history}))
