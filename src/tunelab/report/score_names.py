"""What scores are called in both languages, and which of them are shares."""

__all__ = ["NOT_SHARES", "OF", "SCORES"]

#: Scores by the name the record has for them.
SCORES = {
    "accuracy": ("accuracy", "准确率"),
    "macro_f1": ("macro F1", "宏平均 F1"),
    "micro_f1": ("micro F1", "微平均 F1"),
    "weighted_f1": ("weighted F1", "加权平均 F1"),
    "mcc": ("Matthews correlation", "马修斯相关系数"),
    "ece": ("calibration error (ECE)", "校准误差 (ECE)"),
    "loss": ("loss", "损失"),
    "-loss": ("negative loss per token", "负损失（每 token）"),
    "bits_per_byte": ("bits per byte", "每字节比特数"),
    "perplexity": ("perplexity", "困惑度"),
    "token_accuracy": ("token accuracy", "token 预测准确率"),
    "spearman": ("Spearman correlation", "斯皮尔曼相关系数"),
    "pearson": ("Pearson correlation", "皮尔逊相关系数"),
    "rmse": ("root mean squared error", "均方根误差"),
    "mae": ("mean absolute error", "平均绝对误差"),
    "subset_accuracy": ("all labels right", "标签完全正确率"),
    "exact_match": ("exact match", "完全匹配率"),
    "f1": ("F1", "F1"),
    "precision": ("precision", "精确率"),
    "recall": ("recall", "召回率"),
    "macro_precision": ("macro precision", "宏平均精确率"),
    "macro_recall": ("macro recall", "宏平均召回率"),
    "rougeL": ("ROUGE-L", "ROUGE-L"),
    "bleu": ("BLEU", "BLEU"),
    "chrf": ("chrF", "chrF"),
    "reward": ("reward", "奖励"),
    "preference_accuracy": ("preference accuracy", "偏好准确率"),
    "rouge1": ("ROUGE-1", "ROUGE-1"),
    "rouge2": ("ROUGE-2", "ROUGE-2"),
    "brier": ("Brier score", "Brier 分数"),
    "agreement": ("agreement with annotators", "与标注者的一致率"),
    "agreement_limit": ("highest possible agreement", "一致率上限"),
    "longer_right": ("longer answer is the chosen one", "较长回答为优选的比例"),
    "longer_preferred": ("model prefers the longer answer", "模型偏好较长回答的比例"),
    "margin": ("mean margin", "平均偏好差"),
    "mean_score": ("mean score of an answer", "回答的平均分"),
    "chosen_log_probability": ("log-probability per token, chosen", "优选回答的对数概率（每 token）"),
    "rejected_log_probability": ("log-probability per token, rejected", "非优选回答的对数概率（每 token）"),
    "chosen_log_ratio": ("log-ratio per token, chosen", "优选回答的对数比（每 token）"),
    "rejected_log_ratio": ("log-ratio per token, rejected", "非优选回答的对数比（每 token）"),
    "win_rate": ("win rate", "胜率"),
    "kl": ("KL, nats an answer", "KL（奈特/回答）"),
    "answer_tokens": ("tokens an answer", "每个回答的 token 数"),
    "ended": ("answers that end by themselves", "自行结束的回答比例"),
    "untouched_reward": ("reward, untouched model", "奖励（原模型）"),
    "trained_reward": ("reward that was trained on", "训练所用奖励"),
    "untouched_trained_reward": ("the same, untouched model", "训练所用奖励（原模型）"),
}

#: What stands in brackets behind a score: of which items it is.
OF = {"answer": ("answerable", "有答案"), "no answer": ("unanswerable", "无答案")}

#: Scores that are shown as they are, not in points: they have a unit of their own.
NOT_SHARES = frozenset(
    (
        *("loss", "mcc", "perplexity", "bits_per_byte", "rmse", "mae", "kl", "answer_tokens"),
        *("reward", "untouched_reward", "trained_reward", "untouched_trained_reward", "margin", "mean_score"),
        *("chosen_log_probability", "rejected_log_probability", "chosen_log_ratio", "rejected_log_ratio"),
    )
)
