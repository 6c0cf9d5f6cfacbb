"""Every sentence of the page, English and Chinese side by side: neither can lack one the other has."""

from tunelab.report.score_names import OF, SCORES

__all__ = ["LANGUAGES", "TEXTS", "WARNINGS", "language_names"]

#: In the order in which `TEXTS` has them.
LANGUAGES = ("en", "zh")

#: Languages the report speaks, each by its own name.
language_names = {"en": "English", "zh": "中文"}

#: Warnings by the code the record has for them.
WARNINGS = {
    "one_seed": (
        "Every method was trained with one seed: the intervals are about these trained models only, not "
        "about what another seed would give.",
        "每种方法只用一个随机种子训练：置信区间只针对这些训练好的模型，换一个种子的结果可能不同。",
    ),
    "few_items": (
        "There are only {items} test rows: the intervals are wide, and real differences can go unseen.",
        "测试集只有 {items} 条：置信区间较宽，真实存在的差异也可能看不出来。",
    ),
    "few_groups": (
        "The {items} test rows count as {units} only (rows of a group as one, rows with nothing to find not at "
        "all): the intervals are wide, and real differences can go unseen.",
        "{items} 条测试数据只相当于 {units} 条（同组数据算一条，没有可识别内容的不计）：置信区间较宽，真实存在的差异也可能看不出来。",
    ),
    "low_power": (
        "The test has little power here: a difference large enough to matter can go unseen.",
        "检验效能偏低：即使差异大到有实际意义，也可能检测不出来。",
    ),
    "failures": (
        "Failed runs, which count for nothing: {runs} ({names}). The reasons are under Settings.",
        "有 {runs} 次训练失败，未计入结果（{names}）；原因见“设置”。",
    ),
    "raced": (
        "A race stopped {names} early: not in the table. The chance that one of these would have caught up with "
        "the leader is at most {risk}.",
        "赛跑机制提前淘汰了 {names}（不在结果表中）；其中某个方法本可追上领先者的概率不超过 {risk}。",
    ),
    "baseline": (
        "The baseline {baseline} is not beaten for sure: fine-tuning may not be worth it on these data.",
        "未能确定优于基线 {baseline}：在这份数据上，微调未必值得。",
    ),
}

_VERDICT = {
    "only": (
        "Only {method} was compared: {score} points of {deciding} on {items} test rows (95 % interval {low} "
        "to {high}).",
        "只比较了 {method} 一种方法：在 {items} 条测试数据上{deciding}为 {score}（95% 置信区间 {low} 至 {high}）。",
    ),
    "sure_two": (
        "Take {method}. On these {items} test rows it is better than {runner_up}: {difference} points of "
        "{deciding} (95 % interval {low} to {high}, {p}).",
        "建议采用 {method}。在这 {items} 条测试数据上，它的{deciding}显著高于 {runner_up}：高 {difference} "
        "个百分点（95% 置信区间 {low} 至 {high}，{p}）。",
    ),
    "sure_many": (
        "Take {method}. On these {items} test rows it is better than each of the other {others} methods: "
        "{difference} points of {deciding} above the next, {runner_up} (95 % interval {low} to {high}, "
        "{p} after Holm).",
        "建议采用 {method}。在这 {items} 条测试数据上，它显著优于其余全部 {others} 种方法：{deciding}比第二名 "
        "{runner_up} 高 {difference} 个百分点（95% 置信区间 {low} 至 {high}，Holm 校正后 {p}）。",
    ),
    "tied_cheaper": (
        "Take {method}. On these {items} test rows it cannot be told apart from the best, {best} (difference "
        "{difference} points, 95 % interval {low} to {high}), and costs {cost} of its tuning and training time.",
        "建议采用 {method}。在这 {items} 条测试数据上，它与得分最高的 {best} 没有显著差异（相差 {difference} "
        "个百分点，95% 置信区间 {low} 至 {high}），而调参与训练时间只有后者的 {cost}。",
    ),
    "tied_best": (
        "Take {method}. It has the highest score, but on these {items} test rows it cannot be told apart from "
        "{tied}; none of them costs clearly less, beats the same baselines and holds its own against it alone.",
        "建议采用 {method}。它得分最高，但在这 {items} 条测试数据上与 {tied} 没有显著差异；其中没有哪种方法成本明显更低、同样胜过基线、并且单独比较时也不逊于它。",
    ),
    "baseline_unsure": (
        "Fine-tuning has not proved its worth here: the best method, {best}, is not surely better than the "
        "baseline {baseline} (difference {difference} points of {deciding}, 95 % interval {low} to {high}).",
        "目前没有证据表明这里值得微调：得分最高的 {best} 并未显著优于基线 {baseline}"
        "（{deciding}相差 {difference} 个百分点，95% 置信区间 {low} 至 {high}）。",
    ),
    "baseline_better": (
        "Do not fine-tune for this: the baseline {baseline} is better than the best method, {best} "
        "(by {difference} points of {deciding}, 95 % interval {low} to {high}).",
        "这份数据不建议微调：基线 {baseline} 显著优于得分最高的方法 {best}"
        "（{deciding}：高 {difference} 个百分点，95% 置信区间 {low} 至 {high}）。",
    ),
    "if_tuned": ("If you fine-tune nonetheless: {advice} {more}", "如果仍要微调：{advice}{more}"),
    "more_rows_tell": (
        "About {more} more test rows would separate the first two, {best} and {runner_up}, if the measured "
        "difference is the true one.",
        "如果测得的差异属实，大约再增加 {more} 条测试数据即可区分前两名 {best} 与 {runner_up}。",
    ),
    "more_rows_never": (
        "No number of further test rows would separate the first two, {best} and {runner_up}: there is no "
        "difference between them, or it is lost in the noise of the seeds.",
        "再增加测试数据也无法区分前两名 {best} 与 {runner_up}：两者没有差异，或差异被随机种子的波动淹没。",
    ),
    "more_rows_done": (
        "The first two, {best} and {runner_up}, are separated already; that needs no further test rows.",
        "前两名 {best} 与 {runner_up} 已经可以区分，无需为此增加测试数据。",
    ),
    "nothing_to_tell": (
        "With one method there is nothing to choose between; compare several to learn which suits the data.",
        "只有一种方法，无从选择；请多比较几种，才能知道哪种适合这份数据。",
    ),
}

_HEAD = {
    "kind": ("Comparison of fine-tuning methods", "微调方法对比报告"),
    "summary_split": (
        "{methods} on {model}, {all} rows: {train} to train, {valid} to validate, {test} to test; "
        "{labels}{seeds}, {spent} of work in all.",
        "{model} 上的 {methods}；共 {all} 条数据：训练 {train} 条、验证 {valid} 条、测试 {test} 条；{labels}"
        "{seeds}，总计算时间 {spent}。",
    ),
    "summary_folds": (
        "{methods} on {model}, {all} rows in {folds} folds, {items} of them judged; {labels}{seeds}, "
        "{spent} of work in all.",
        "{model} 上的 {methods}；共 {all} 条数据，{folds} 折交叉验证，其中 {items} 条参与评测；{labels}"
        "{seeds}，总计算时间 {spent}。",
    ),
    "classes_of": ("{n} classes, ", "{n} 个类别，"),
    "one_seed_of": ("{n} seed", "{n} 个随机种子"),
    "seeds_of": ("{n} seeds", "{n} 个随机种子"),
    "one_method": ("{n} method", "{n} 种方法"),
    "methods": ("{n} methods", "{n} 种方法"),
    "made": ("Made {when} UTC", "生成于 {when} UTC"),
    "verdict": ("Verdict", "结论"),
    "advised": ("Advised", "建议采用"),
    "warnings": ("Read with care", "解读时请注意"),
    "contents": ("Contents", "目录"),
    "language": ("Language", "语言"),
    "fact_score": ("{deciding}, {method}", "{method} 的{deciding}"),
    "fact_train": ("one training run", "单次训练时间"),
    "fact_memory": ("peak memory", "峰值内存"),
    "fact_latency": ("latency of one row", "单条推理延迟"),
    "fact_size": ("size on disk", "磁盘占用"),
    "interval_note": ("95 % interval {low} to {high}", "95% 置信区间 {low} 至 {high}"),
    "trained_note": ("{share} of the parameters trained", "训练参数占比 {share}"),
    "source": ("Source", "数据来源"),
    "footer": (
        "Made by tunelab {version} from study.json. Everything on this page is in that file; the page needs "
        "no network. Scores are points of 100 where no other unit is named; intervals are 95 %.",
        "由 tunelab {version} 根据 study.json 生成。页面上的全部数字都来自该文件，无需联网。"
        "未注明单位的得分为百分制；区间均为 95% 置信区间。",
    ),
}

_TABLE = {
    "nav_table": ("Results", "结果"),
    "table": ("Results", "结果总表"),
    "table_lead": (
        "The leader of a group is its highest score; the others of the group cannot be told apart from it on "
        "these {items} test rows (5 %, Holm-corrected over all pairs). ★ is the advised method.",
        "每组以得分最高者领头；在这 {items} 条测试数据上，同组其他方法与它没有显著差异（显著性水平 5%，对所有方法对做 "
        "Holm 校正）。★ 为建议采用的方法。",
    ),
    "group": ("Group {n}", "第 {n} 组"),
    "group_tied": ("cannot be told apart from {leader}", "与 {leader} 没有显著差异"),
    "group_alone": ("one method", "仅一种方法"),
    "group_baselines": ("Baselines: what fine-tuning must beat", "基线：微调必须超过的水平"),
    "method": ("Method", "方法"),
    "score_column": ("{deciding}, 95 % interval", "{deciding}（95% 置信区间）"),
    "spread": ("± seeds", "种子间标准差"),
    "tuning_time": ("Tuning", "调参"),
    "training_time": ("Training", "训练"),
    "evaluation_time": ("Validation", "验证"),
    "memory": ("Memory", "内存"),
    "trained": ("Trained", "训练参数"),
    "disk": ("On disk", "磁盘"),
    "latency_1": ("1 by 1", "逐条"),
    "latency_32": ("by 32", "批量 32"),
    "forgetting": ("Forgetting", "遗忘"),
    "learning_rate": ("Learning rate", "学习率"),
    "head_time": ("Time", "时间"),
    "head_size": ("Size", "规模"),
    "head_latency": ("Latency per row", "每条延迟"),
    "failed": ("{n} failed", "{n} 次失败"),
    "table_notes": (
        "Tuning is all trials together; training and validation are of one run, the latter the evaluations during "
        "training. Trained: parameters that move, and their share. ± seeds: standard deviation between seeds. "
        "An arrow at the edge of the plot: the score lies outside it.",
        "调参为全部试验的总时间；训练与验证均为单次训练所用时间，其中验证指训练过程中的评估。训练参数：参与更新的参数量及其占比。"
        "图边缘的箭头表示得分超出图的范围。",
    ),
    "forgetting_cka": (
        "Forgetting: 1 − linear CKA between the tuned and the untouched model's representations of {n} general "
        "sentences (0: unchanged).",
        "遗忘：在 {n} 个通用句子上，微调后模型与原模型表示之间的 1 − 线性 CKA（0 表示没有变化）。",
    ),
    "forgetting_causal_lm": (
        "Forgetting: rise of the language model's loss on {n} general sentences, in nats per token (0: nothing "
        "forgotten; untouched model: {base}).",
        "遗忘：语言模型在 {n} 个通用句子上损失的上升，单位为 奈特/token（0 表示没有遗忘；原模型损失为 {base}）。",
    ),
    "forgetting_masked_lm": (
        "Forgetting: rise of the masked language model's loss on {n} general sentences, in nats per token (0: "
        "nothing forgotten; untouched model: {base}).",
        "遗忘：掩码语言模型在 {n} 个通用句子上损失的上升，单位为 奈特/token（0 表示没有遗忘；原模型损失为 {base}）。",
    ),
}

_TRADE = {
    "nav_trade": ("Quality and cost", "效果与成本"),
    "trade": ("Quality against cost", "效果与成本的权衡"),
    "trade_lead": (
        "Up is better, left is cheaper or faster. On the dashed line lie the methods that no other both beats and "
        "undercuts by its mean score; the whiskers say how sure each score is.",
        "越靠上效果越好，越靠左成本（时间、内存或延迟）越低。虚线为帕累托前沿：其上的方法不存在得分更高且成本更低的替代；"
        "竖线表示每个得分的置信区间。",
    ),
    "trade_time": ("Score against training time", "得分与训练时间"),
    "trade_memory": ("Score against peak memory", "得分与峰值内存"),
    "trade_latency": ("Score against latency", "得分与推理延迟"),
    "axis_time": ("training time of one run", "单次训练时间"),
    "axis_memory": ("peak memory of one run", "单次训练峰值内存"),
    "axis_latency": ("latency, rows one by one", "单条推理延迟"),
    "log_axis": ("{axis} (log scale)", "{axis}（对数坐标）"),
    "legend_advised": ("advised", "建议采用"),
    "legend_front": ("Pareto front", "帕累托前沿"),
    "legend_baseline": ("baseline", "基线"),
    "legend_clipped": ("below the plot: {names}", "低于图的范围：{names}"),
    "plot_time": ("Score of each method against training time", "各方法得分与训练时间"),
    "plot_memory": ("Score of each method against peak memory", "各方法得分与峰值内存"),
    "plot_latency": ("Score of each method against latency", "各方法得分与推理延迟"),
    "unmeasured": ("Not measured: {names}.", "未测量：{names}。"),
    "fronts": ("The choices, side by side", "可选方案一览"),
    "fronts_note": (
        "Methods on at least one dashed line; ◆: on the line of this cost. For every other method and every cost "
        "named here, as far as it was measured, one of these scores at least as high and costs no more.",
        "至少位于一条虚线上的方法；◆ 表示位于该项成本的前沿。对其余任一方法和表中每项成本（若已测量），表中都有得分不低于它、成本不高于它的方法。",
    ),
    "front_time": ("Training", "训练时间"),
    "front_memory": ("Memory", "内存"),
    "front_latency": ("Latency", "延迟"),
}

_PAIRS = {
    "nav_pairs": ("Differences", "两两差异"),
    "pairs": ("What differs from the leader", "与最高分方法的差异"),
    "pairs_lead": (
        "Each method against the highest score, {leader}, on the same test rows. p is corrected by Holm for all "
        "{n} pairs of the study; the interval is of this pair alone.",
        "在同一批测试数据上，各方法与得分最高的 {leader} 逐一比较。p 值已对全部 {n} 个方法对做 Holm 校正；置信区间只针对该方法对，未经校正。",
    ),
    "versus": ("{leader} minus …", "{leader} 减去…"),
    "difference": ("Difference, points", "差异（百分点）"),
    "interval": ("95 % interval", "95% 置信区间"),
    "p_holm": ("p (Holm)", "p（Holm）"),
    "outcome": ("Verdict", "判断"),
    "different": ("different", "有显著差异"),
    "not_different": ("not told apart", "无显著差异"),
    "more_items": ("Rows to separate", "区分所需行数"),
    "never": ("no number", "无法区分"),
    "test": ("Test", "检验"),
    "test_bootstrap": ("bootstrap over rows and seeds", "对样本和种子的自助法（bootstrap）"),
    "test_mcnemar": ("McNemar, exact", "McNemar 精确检验"),
    "baseline_gaps": ("The best method against the baselines", "最高分方法与基线"),
    "all_pairs": ("All {n} pairs", "全部 {n} 个方法对"),
    "matrix_note": (
        "Row minus column, points. ≠ different after Holm; ≈ not told apart.",
        "行减列，单位为百分点。≠ 表示 Holm 校正后有显著差异；≈ 表示无显著差异。",
    ),
    "pairs_none": ("There is one method: no pairs.", "只有一种方法，没有可比较的方法对。"),
}

_CURVES = {
    "nav_curves": ("More data", "数据量"),
    "curves": ("Learning curves: what more data would be worth", "学习曲线：增加数据的收益"),
    "curves_lead": (
        "Each method trained on nested shares of the training rows and judged on the same test rows.",
        "每种方法用训练集的嵌套子集训练，并在同一批测试数据上评测。",
    ),
    "axis_rows": ("training rows", "训练数据条数"),
    "plot_curves": ("Score of each method by training rows", "各方法得分随训练数据条数的变化"),
    "more_rows": ("What {n} more labelled rows would be worth", "再标注 {n} 条数据的收益"),
    "extrapolation": (
        "An extrapolation: the interval is what several laws that fit the measured points allow beyond them. "
        "Nothing of it was measured.",
        "此为外推：区间涵盖了多条能拟合实测点的曲线在其范围之外的取值，并非实测结果。",
    ),
    "gain": ("Gain, points", "收益（百分点）"),
    "gain_unknown": ("the curve does not say", "曲线无法给出"),
    "crossings": ("Who leads from how many rows on", "从多少条数据起领先"),
    "crossing_overtakes": (
        "{first} overtakes {second} at {rows} rows ({difference} points, {low} to {high})",
        "从 {rows} 条起，{first} 反超 {second}（{difference} 个百分点，{low} 至 {high}）",
    ),
    "crossing_ahead": (
        "{first} is ahead of {second} from {rows} rows on ({difference} points, {low} to {high})",
        "从 {rows} 条起，{first} 领先 {second}（{difference} 个百分点，{low} 至 {high}）",
    ),
    "crossing_unsure": ("not sure, all pairs considered", "计入全部比较后不显著"),
    "curves_none": (
        "This study has no learning curves; {option} adds them.",
        "本次实验没有学习曲线；加上 {option} 即可得到。",
    ),
    "race": ("The race", "赛跑（提前淘汰）"),
    "race_lead": (
        "Methods that fell too far behind on the validation rows were stopped. That saved {saved} of the predicted "
        "work; the chance that one of them would have caught up with the leader is at most {risk}.",
        "验证集上落后太多的方法会被提前停止。由此节省了预计工作量的 {saved}；其中某个方法本可追上领先者的概率不超过 {risk}。",
    ),
    "race_stopped": ("Stopped", "被停止的方法"),
    "race_step": ("At step", "停止步数"),
    "race_behind": ("Behind the leader, points", "落后领先者（百分点）"),
    "race_none": ("No method was stopped.", "没有方法被停止。"),
}

_AUGMENT = {
    "nav_augment": ("New rows", "数据增强"),
    "augment": ("Whether new training rows helped", "数据增强是否有用"),
    "augment_lead": (
        "Beside the {rows} training rows of the first split stood {copies} made from them ({recipe}), never from a "
        "validation or test row. Every method was tuned and trained with and without them, with as many steps. p is "
        "corrected by Holm for the methods.",
        "在第一个划分的 {rows} 条训练数据之外，另有由它们生成的 {copies} 条（{recipe}），绝不来自验证集或测试集。"
        "每种方法都在有、无增强数据的情况下各调参并训练一遍，步数相同。p 值按方法数做 Holm 校正。",
    ),
    "augment_together": ("All methods together", "全部方法合计"),
    "augment_helped": (
        "New training rows ({recipe}) helped {who}: {difference} points of {deciding} (95 % interval {low} to "
        "{high}, {p}).",
        "数据增强（{recipe}）对{who}有用：{deciding}提高 {difference} 个百分点（95% 置信区间 {low} 至 {high}，{p}）。",
    ),
    "augment_hurt": (
        "New training rows ({recipe}) hurt {who}: {difference} points of {deciding} (95 % interval {low} to "
        "{high}, {p}).",
        "数据增强（{recipe}）对{who}有害：{deciding}变化 {difference} 个百分点（95% 置信区间 {low} 至 {high}，{p}）。",
    ),
    "augment_none": (
        "New training rows ({recipe}) made no difference to {who} that these data support: {difference} points of "
        "{deciding} (95 % interval {low} to {high}, {p}).",
        "数据增强（{recipe}）对{who}没有显著影响：{deciding}变化 {difference} 个百分点（95% 置信区间 {low} 至 {high}，{p}）。",
    ),
    "augment_methods": ("the {n} methods together", "{n} 种方法整体"),
    "augment_sure": (
        "By itself, the difference is sure for {names}.",
        "单独来看，差异显著的有：{names}。",
    ),
    "augment_item": ("{name} ({difference}, {p})", "{name}（差 {difference}，{p}）"),
    "augment_classes_sure": (
        "By class it is sure for {names}.",
        "分类别来看，差异显著的有：{names}。",
    ),
    "augment_classes_none": ("For no class by itself is it sure.", "没有任何单个类别的差异是显著的。"),
    "augment_classes": ("F1 by class", "各类别 F1"),
    "augment_classes_note": (
        "Points of F1 with the new rows minus without; p is corrected by Holm for all classes of all methods.",
        "有增强数据减去没有增强数据的 F1（百分点）；p 值按全部方法的全部类别做 Holm 校正。",
    ),
    "augment_without": ("Without", "无增强"),
    "augment_with": ("With", "有增强"),
    "augment_difference": ("With minus without, points", "有减无（百分点）"),
    "augment_class": ("Class", "类别"),
    "augment_examples": ("Some of them", "若干示例"),
    "augment_lost": (
        "Of {asked} asked for (over all folds) left out: {could_not} that could not be made, {repeats} that repeat "
        "another, {held_out} that say what a validation or test row says, {changed} whose label was lost.",
        "共请求 {asked} 条（全部折）；其中未采用：{could_not} 条无法生成，{repeats} 条与其他重复，"
        "{held_out} 条与验证集或测试集内容相同，{changed} 条标签未能保持。",
    ),
}

_TUNING = {
    "nav_tuning": ("Tuning", "调参"),
    "tuning": ("Tuning of the learning rate", "学习率调参"),
    "tuning_lead": (
        "Every method had {n} trials on each split, judged on validation rows only. The line and the ringed point "
        "mark the learning rate that was chosen.",
        "每种方法在每个划分上都有 {n} 次试验，只用验证集评判。竖线和带圈的点为选中的学习率。",
    ),
    "tuning_default": (
        "Nothing was tuned: every method ran with its own default learning rate. A comparison after tuning is "
        "fairer; {option} does it.",
        "本次没有调参：每种方法都用各自的默认学习率。调参之后再比较会更公平，加上 {option} 即可。",
    ),
    "tuning_given": (
        "Nothing was tuned: every method took the learning rate that was given, {rate}. Methods want different "
        "ones; without {option} each is tuned.",
        "本次没有调参：所有方法都使用指定的学习率 {rate}。不同方法适合的学习率不同；去掉 {option} 即可分别调参。",
    ),
    "tuning_budget": (
        "Nothing was tuned: a budget of {budget} left room for one trial only, so every method ran with its own "
        "default learning rate. A comparison after tuning is fairer, and takes longer.",
        "本次没有调参：{budget} 的预算只够一次试验，因此每种方法都用各自的默认学习率。"
        "调参之后再比较会更公平，但需要更长时间。",
    ),
    "trial_complete": ("complete", "完成"),
    "trial_stopped": ("stopped early", "提前停止"),
    "trial_failed": ("failed", "失败"),
    "trial_chosen": ("chosen", "选中"),
    "axis_rate": ("learning rate (log scale)", "学习率（对数坐标）"),
    "plot_trials": ("Trials of {method}", "{method} 的调参试验"),
    "below": ("▼ below the plot", "▼ 低于图的范围"),
}

_DETAIL = {
    "nav_detail": ("Errors", "错误分析"),
    "detail": ("Where each method errs", "各方法的错误分析"),
    "confusion": ("Confusion matrix", "混淆矩阵"),
    "confusion_note": (
        "Test rows, mean over seeds. Blue is right, orange is wrong; the darker, the larger the share of the true "
        "class (square-root scale).",
        "测试数据条数（各种子取平均）。蓝色为预测正确，橙色为预测错误；颜色越深，占该真实类别的比例越大（平方根刻度）。",
    ),
    "true": ("true class", "真实类别"),
    "predicted": ("predicted class", "预测类别"),
    "plot_confusion": ("Confusion matrix of {method}", "{method} 的混淆矩阵"),
    "confused": ("Most frequent confusions", "最常见的混淆"),
    "rows": ("Rows", "条数"),
    "calibration": ("Calibration", "校准"),
    "calibration_note": (
        "On the diagonal, a confidence of 80 % is right 80 % of the time; below it the model is too sure of itself. "
        "The area of a point and the bars show how many predictions it stands for.",
        "位于对角线上时，80% 的置信度就对应 80% 的正确率；低于对角线说明模型过于自信。点的面积与下方条形表示预测的数量。",
    ),
    "confidence": ("confidence", "置信度"),
    "share_right": ("share right", "正确率"),
    "plot_calibration": ("Reliability diagram of {method}", "{method} 的可靠性图"),
    "scores": ("Scores on the test rows", "测试集得分"),
    "weakest": ("F1 by class, weakest first", "各类别 F1（由低到高）"),
    "weakest_types": ("F1 by type or label, weakest first", "各类型（标签）F1（由低到高）"),
    "weakest_of": (
        "The {n} weakest of {all}; the others are in study.json.",
        "共 {all} 个，仅列出最低的 {n} 个，其余见 study.json。",
    ),
    "weakest_interval": (
        "Lines: 95 % intervals over seeds and test rows, each by itself (not corrected for their number).",
        "横线为 95% 置信区间（涵盖随机种子与测试样本的波动），各自单独计算，未做多重校正。",
    ),
    "weakest_without": (
        "Intervals are given for the advised method and for the one with the highest score.",
        "仅对建议采用的方法和得分最高的方法给出置信区间。",
    ),
    "judged_runs": ("Judged runs", "参与评测的训练"),
    "not_recorded": ("not recorded", "没有记录"),
    "no_errors": ("No errors.", "没有错误。"),
    "validation_score": ("{deciding} on validation", "验证集{deciding}"),
}

_ROWS = {
    "nav_rows": ("Rows", "分歧样本"),
    "rows_title": ("Rows on which methods disagree", "方法之间有分歧的样本"),
    "rows_lead": (
        "Test rows that {advised} gets wrong and {other} right. Look at them: wrong labels show up here.",
        "{advised} 判错而 {other} 判对的测试样本。值得逐条查看：标注错误往往会出现在这里。",
    ),
    "rows_further": (
        "Test rows on which {advised} is further off than {other}, the furthest first.",
        "{advised} 比 {other} 偏差更大的测试样本，差距最大的在前。",
    ),
    "rows_loss": ("The numbers are the loss a token.", "数字为每 token 的损失。"),
    "rows_preference": (
        "The numbers say by how much the chosen answer is preferred; below 0 it is the other one.",
        "数字表示对优选回答的偏好程度；小于 0 即偏好另一个回答。",
    ),
    "samples_title": ("What it writes", "生成示例"),
    "samples_lead": (
        "What the model of {advised} writes after some test prompts, the likeliest token each time.",
        "{advised} 的模型对若干测试提示的回答（每步取概率最高的 token）。",
    ),
    "nav_policies": ("Answers", "回答"),
    "nav_samples": ("Samples", "生成示例"),
    "policies": ("What the models write, against the untouched one", "模型自己写出的回答与原模型的对比"),
    "policies_lead": (
        "Every held-out prompt is answered once by each model with the same random numbers. Win rate: the share "
        "of prompts on which the answer is worth more than the untouched model's, by the judge. KL: how far the "
        "model has moved, in nats an answer.",
        "每条留出的提示由各模型用相同的随机数各回答一次。胜率：评判奖励高于原模型回答的提示所占比例。"
        "KL：模型偏离原模型的程度（每个回答，单位奈特）。",
    ),
    "win_rate": ("Win rate", "胜率"),
    "answer_tokens": ("Tokens", "回答 token 数"),
    "ended": ("Ended", "自行结束"),
    "rl_seconds": ("Drawing + reward + updates", "采样 + 奖励 + 更新"),
    "rounds": ("Round by round", "逐轮变化"),
    "rounds_lead": (
        "What each round of answers was like, of the first run of each method that learns from its own answers.",
        "从自己的回答中学习的各方法第一次运行中，每一轮回答的情况。",
    ),
    "round_reward": ("Reward", "奖励"),
    "round_kl": ("KL, nats an answer", "KL（奈特/回答）"),
    "round_entropy": ("Entropy, nats a token", "熵（奈特/token）"),
    "round_tokens": ("Tokens an answer", "每个回答的 token 数"),
    "round_clipped": ("Clipped share", "被裁剪的比例"),
    "round_value_error": ("Error of the value head", "价值头误差"),
    "nav_written": ("Before and after", "训练前后"),
    "written": ("Before and after", "训练前后的回答"),
    "written_lead": (
        "The answers of {advised} beside the untouched model's, from the most that was won to the most that was "
        "lost.",
        "{advised} 的回答与原模型的回答，按奖励变化从大到小排列。",
    ),
    "reward_moved": ("Reward {before}, then {after}", "奖励 {before}，之后 {after}"),
    "before": ("Before", "训练前"),
    "after": ("After", "训练后"),
    "reference": ("In the data", "参考答案"),
    "wrote": ("Written", "模型回答"),
    "rows_none": ("There are none to show.", "没有可展示的样本。"),
    "label": ("Label", "标签"),
    "row_n": ("row {n}", "第 {n} 行"),
    "further": ("{n} more", "其余 {n} 条"),
    "cut": ("cut; the whole is in the file", "已截断，全文见原文件"),
}

_DATA = {
    "nav_data": ("Data", "数据"),
    "data": ("What the data doctor found", "数据体检结果"),
    "data_none": ("No findings.", "没有发现问题。"),
    "severity_error": ("error", "错误"),
    "severity_warning": ("warning", "警告"),
    "severity_info": ("info", "提示"),
    "affected": ("{n} rows, {share}", "{n} 条，占 {share}"),
    "fixable": ("--fix mends this", "可用 --fix 自动修复"),
}

_PLAN = {
    "nav_plan": ("Plan", "计划"),
    "plan": ("The plan against what happened", "计划与实际"),
    "plan_lead": (
        "What a few probe steps predicted before the study, and what each run took. Between the thin lines the "
        "prediction is within 20 %.",
        "实验开始前由若干探测步给出的预测，与每次训练的实际消耗。两条细线之间表示误差在 20% 以内。",
    ),
    "within": ("{n} of {all} runs within 20 %", "{all} 次训练中有 {n} 次误差在 20% 以内"),
    "plan_time": ("Time", "时间"),
    "plan_memory": ("Memory", "内存"),
    "predicted_axis": ("predicted", "预测"),
    "measured_axis": ("measured", "实测"),
    "plan_none": ("No plan was recorded.", "没有记录计划。"),
    "plan_table": ("Every run", "逐次列出"),
    "run": ("Run", "训练"),
    "kind_column": ("Kind", "类型"),
    "kind_trial": ("trial", "调参试验"),
    "kind_judged": ("judged", "正式评测"),
    "kind_refit": ("refit", "重新训练"),
    "kind_curve": ("curve", "学习曲线"),
    "plan_rest": ("{n} more runs are in study.json.", "其余 {n} 次见 study.json。"),
    "not_measured": (
        "A run without a measurement was stopped early or continued.",
        "没有实测值的训练是被提前停止或中断后继续的。",
    ),
}

_SETTINGS = {
    "nav_settings": ("Settings", "设置"),
    "settings": ("Settings, versions and how to get this again", "设置、版本与复现"),
    "again": (
        "To get this study again, in the folder in which it was started",
        "复现本次实验（在当初运行命令的目录中执行）",
    ),
    "copy": ("Copy", "复制"),
    "copied": ("Copied", "已复制"),
    "notes": ("Notes", "备注"),
    "failures": ("Failures", "失败记录"),
    "every_setting": ("Every setting", "全部设置"),
    "method_settings": ("Settings of each method", "各方法的设置"),
    "machine": ("Machine", "机器"),
    "versions": ("Versions", "版本"),
    "digests": ("Digests (SHA-256)", "摘要（SHA-256）"),
}

TEXTS: dict[str, tuple[str, str]] = {
    **_VERDICT,
    **_HEAD,
    **_TABLE,
    **_TRADE,
    **_PAIRS,
    **_CURVES,
    **_AUGMENT,
    **_TUNING,
    **_DETAIL,
    **_ROWS,
    **_DATA,
    **_PLAN,
    **_SETTINGS,
    **{f"score_{name}": text for name, text in SCORES.items()},
    **{f"of_{name}": text for name, text in OF.items()},
    **{f"warning_{code}": text for code, text in WARNINGS.items()},
}
