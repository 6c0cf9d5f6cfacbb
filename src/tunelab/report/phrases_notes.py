"""What studies note, and the same in Chinese (see `translate`).

[|] stands where the code puts a value of its own: a word of a few, each of which has a template here.
"""

__all__ = ["NOTES"]


def _with_rows(english: str, chinese: str) -> tuple[str, str]:
    """What `items.told_of` says: how many of something there are, and in which rows."""
    return (
        f"{{file}}: [|]{english}[|]: {{n:n}} ([row|rows] {{rows}})",
        f"{{file}}：{chinese}（第 {{rows}} 行）",
    )


_BESIDE = {
    "the last training on all rows": "最后用全部数据再训练一次",
    "verification": "校验",
    "baselines": "基线",
    "latency": "延迟",
    "probes": "探测",
}

NOTES: tuple[tuple[str, str], ...] = (
    # templates, instruct, rewrite (first: they end with a text of the user's)
    (
        "a row as the model reads it, what is learnt between ⟦ and ⟧:\n{shown}",
        "模型读到的一条数据（⟦ 与 ⟧ 之间为学习的内容）：\n{shown}",
    ),
    (
        "an item as the model reads it, what is learnt between ⟦ and ⟧:\n{shown}",
        "模型读到的一条样本（⟦ 与 ⟧ 之间为学习的内容）：\n{shown}",
    ),
    (
        "chat template: {name} ([|]instead of the tokenizer's own[|])",
        "对话模板：{name}（代替 tokenizer 自带的模板）",
    ),
    ("chat template: {name} ([|]the tokenizer has none[|])", "对话模板：{name}（tokenizer 没有自带模板）"),
    (
        "the tokenizer's chat template has no generation marks: what is learnt is what each answer adds to "
        "the conversation before it (look at the row below)",
        "tokenizer 的对话模板没有 generation 标记：每个回答在此前对话之上增加的部分即为学习的内容"
        "（请查看下面的数据）",
    ),
    # default_model, models
    (
        "the texts are Chinese, so model {name} reads them: {what:said}. --model names another",
        "文本是中文，因此使用模型 {name}：{what}。可用 --model 指定其他模型",
    ),
    (
        "tiny Chinese encoder, BERT, 3 layers, hidden 192, 2.9 M parameters, for samples and first tries",
        "小型中文编码器，BERT，3 层，隐藏维度 192，2.9 M 参数，用于示例和初步尝试",
    ),
    (
        "tiny Chinese language model, Llama, 3 layers, hidden 192, 2.8 M parameters, for first tries",
        "小型中文语言模型，Llama，3 层，隐藏维度 192，2.8 M 参数，用于初步尝试",
    ),
    ("the tokenizer has no padding token: {token} is used", "tokenizer 没有填充 token，以 {token} 代替"),
    # compare, earlier, tuning
    ("settings of {method} are unused: it is not compared", "{method} 的设置没有用到：它不在比较之列"),
    (
        "nothing is tuned: train.learning_rate is given, the same for every method",
        "不调参：已指定 train.learning_rate，所有方法都用同一个值",
    ),
    (
        "this takes the place of the verdict of an earlier study in {folder} (methods {methods}; effort "
        "{effort}), which differs in {what:said}: its runs stay, and the same command brings it back; --out "
        "keeps both",
        "本次结论取代 {folder} 中此前一次实验的结论（方法 {methods}；effort {effort}），两者的不同之处："
        "{what}。此前的训练仍然保留，用原来的命令即可恢复；用 --out 可两者都保留",
    ),
    ("settings that this version does not know", "本版本不认识的设置"),
    ("{method} was stopped by the race", "{method} 在赛跑中被提前淘汰"),
    # forgetting
    (
        "forgetting cannot be measured: the tokenizer of {model} knows no language of the general sentences "
        "({languages})",
        "无法测量遗忘：{model} 的 tokenizer 不认识通用句子的任何一种语言（{languages}）",
    ),
    (
        "forgetting cannot be measured: {model} has two stacks of layers (encoder and decoder)",
        "无法测量遗忘：{model} 有两组层（编码器与解码器）",
    ),
    (
        "forgetting cannot be measured: {model} has no trunk below a task head (`base_model`)",
        "无法测量遗忘：{model} 在任务头之下没有主干（`base_model`）",
    ),
    (
        "forgetting cannot be measured: {model} is built on {trunk}, the tuned model on {other}",
        "无法测量遗忘：{model} 以 {trunk} 为主干，而微调后的模型以 {other} 为主干",
    ),
    (
        "forgetting cannot be measured: outputs of {model} are not finite",
        "无法测量遗忘：{model} 的输出含有 NaN 或无穷大",
    ),
    ("forgetting is not measured: {error:said}", "没有测量遗忘：{error}"),
    # verdict
    (
        "{method} is not in the table: no seed has all folds",
        "{method} 不在结果表中：没有一个随机种子跑完所有折",
    ),
    (
        "{method} rests on {done:n} of {all:n} seeds: of each other a run failed",
        "{method} 的结果来自 {all} 个随机种子中的 {done} 个：其余每个都有训练失败",
    ),
    (
        "in {own:n} of the {all:n} test items there is something to find, or said to be; those are what "
        "intervals and tests count",
        "{all} 条测试数据中，有 {own} 条含有可识别的内容，或被模型判为含有；置信区间和检验只计这些",
    ),
    (
        "the {all:n} test items belong to {groups:n} groups (a text, a prompt or your group column), which "
        "are what intervals and tests count",
        "{all} 条测试数据属于 {groups} 个组（同一文本、同一提示，或你的分组列），"
        "置信区间和检验以组为单位计数",
    ),
    (
        "forgetting of {method} is the mean over {known:n} of its {all:n} runs: of the others it is not "
        "known",
        "{method} 的遗忘是 {all} 次运行中 {known} 次的平均值：其余各次没有测到",
    ),
    # planning, budget
    (
        "{workers:n} instead of {asked:n} runs side by side[|], with {threads:n} threads each[|]: {why:said}",
        "并行训练 {workers} 个，而不是 {asked} 个，每个用 {threads} 个线程：{why}",
    ),
    (
        "{workers:n} instead of {asked:n} runs side by side[|]: {why:said}",
        "并行训练 {workers} 个，而不是 {asked} 个：{why}",
    ),
    (
        "one needs up to {needed} GB, and {free} GB are free",
        "每个最多需要 {needed} GB，而空闲内存为 {free} GB",
    ),
    ("memory held no more when this study began", "本次实验开始时，内存容不下更多"),
    (
        "within the budget of {budget}: {trials:n}[|] trials[|] and {seeds:n} [seed|seeds]",
        "在 {budget} 的预算之内：{trials} 次试验，{seeds} 个随机种子",
    ),
    (
        "within the budget of {budget}: [|]no tuning (every method's default learning rate)[|] and {seeds:n} "
        "[seed|seeds]",
        "在 {budget} 的预算之内：不调参（各方法用各自的默认学习率），{seeds} 个随机种子",
    ),
    (
        "planned: about {all}, of which {part} are no trainings[|] ({parts:said})",
        "计划：共约 {all}，其中 {part} 不是训练（{parts}）",
    ),
    ("planned: about {all}, of which {part} are no trainings", "计划：共约 {all}，其中 {part} 不是训练"),
    *(
        (f"{english} {{time}}[|], {{rest:said}}", f"{said} {{time}}，{{rest}}")
        for english, said in _BESIDE.items()
    ),
    *((f"{english} {{time}}", f"{said} {{time}}") for english, said in _BESIDE.items()),
    # split
    (
        "data.folds={folds:n} is not used: the files give the split",
        "data.folds={folds} 没有用到：文件已给出划分",
    ),
    ("{n:rows} without a split joined the training part", "{n}没有标明划分的数据并入训练集"),
    (
        "no {part:part} part was given: {n:rows} were taken from the training part",
        "没有给出{part}集：从训练集中取出 {n}",
    ),
    (
        "the {part:part} part has {got:share} of the rows instead of {wanted:share}",
        "{part}集占全部数据的 {got}，而不是 {wanted}",
    ),
    ("the {part:part} part has no row of {names:names}", "{part}集中没有 {names} 的数据"),
    ("training on {n:n} of {all:rows} (data.rows)", "只用 {all}训练数据中的 {n} 条（data.rows）"),
    # check
    ("left out {n:rows} with an empty text[|] ({where:where})", "剔除 {n}文本为空的数据（{where}）"),
    ("left out {n:rows} without a label[|] ({where:where})", "剔除 {n}没有标签的数据（{where}）"),
    ("unified the label spelling of {n:rows} ({pairs})", "统一了 {n}数据的标签写法（{pairs}）"),
    (
        "left out {n:rows} that repeat an earlier row[|] ({where:where})",
        "剔除 {n}与前面重复的数据（{where}）",
    ),
    (
        "left out {n:rows} of the {part:part} part whose text is also in the {other:part} part[|] "
        "({where:where})",
        "从{part}集中剔除 {n}文本也出现在{other}集中的数据（{where}）",
    ),
    # check_preferences
    ("left out {n:rows} with an empty answer[|] ({where:where})", "剔除 {n}有空回答的数据（{where}）"),
    (
        "left out {n:rows} whose two answers are the same[|] ({where:where})",
        "剔除 {n}两个回答相同的数据（{where}）",
    ),
    # recipes, base, augmented
    (
        "augmentation cuts Chinese into characters, not words, and may change Chinese names, which it cannot "
        "tell: jieba is not installed",
        "数据增强把中文切成单字而不是词，并且认不出中文人名，可能会改动它们：没有安装 jieba",
    ),
    (
        "augmentation goes without homophones: pypinyin is not installed",
        "数据增强不使用 homophones：没有安装 pypinyin",
    ),
    (
        "augmentation: whether labels survived is asked in {tasks}, not in {task}",
        "数据增强：标签是否保持不变只在 {tasks} 中检查，{task} 中不检查",
    ),
    (
        "augmentation made {n:rows} of {asked:n} asked for[|] ({ways})[|]: rows with +augment are trained "
        "exactly as those without",
        "数据增强在请求的 {asked} 条中生成了 {n}（{ways}）：带 +augment 的行与不带的行训练完全相同",
    ),
    (
        "augmentation made {n:rows} of {asked:n} asked for[|] ({ways})",
        "数据增强在请求的 {asked} 条中生成了 {n}（{ways}）",
    ),
    (
        "{n:n} new rows[|] could not be made (nothing in the text could be changed)",
        "{n} 条新数据无法生成（文本中没有可以改动的地方）",
    ),
    (
        "{n:n} new rows[|] were left out because they repeat a training row or one another",
        "{n} 条新数据未采用，因为与训练数据重复或彼此重复",
    ),
    (
        "{n:n} new rows[|] were left out because they equal a validation or test row",
        "{n} 条新数据未采用，因为与验证集或测试集中的数据相同",
    ),
    (
        "up to {n:rows} of them repeat a validation or test row: left out",
        "其中最多 {n}与验证集或测试集中的数据重复，未采用",
    ),
    (
        "{n:rows} of them repeat a validation or test row: left out",
        "其中 {n}与验证集或测试集中的数据重复，未采用",
    ),
    ("up to {n:rows} of them lost their label: left out", "其中最多 {n}标签未能保持，未采用"),
    ("{n:rows} of them lost their label: left out", "其中 {n}标签未能保持，未采用"),
    # reward (flags of policies)
    ("may have gamed its reward: {flags:said}", "可能钻了奖励的空子：{flags}"),
    (
        "answers have {now:n} tokens, the untouched model's {before:n}[|]; {rest:said}",
        "回答有 {now} 个 token，原模型的回答有 {before} 个；{rest}",
    ),
    (
        "answers have {now:n} tokens, the untouched model's {before:n}",
        "回答有 {now} 个 token，原模型的回答有 {before} 个",
    ),
    (
        "{more:n} points more of their 3-grams are repeated[|]; {rest:said}",
        "重复的 3-gram 比例比原来高 {more} 个百分点；{rest}",
    ),
    ("{more:n} points more of their 3-grams are repeated", "重复的 3-gram 比例比原来高 {more} 个百分点"),
    (
        "the reward rose ({a} to {b}) while the held-out judge's fell ({c} to {d})[|]; {rest:said}",
        "奖励上升（{a} 到 {b}），而留出的评判奖励下降（{c} 到 {d}）；{rest}",
    ),
    (
        "the reward rose ({a} to {b}) while the held-out judge's fell ({c} to {d})",
        "奖励上升（{a} 到 {b}），而留出的评判奖励下降（{c} 到 {d}）",
    ),
    ("only {n:share} of the answers are different from each other", "互不相同的回答只占 {n}"),
    # feedback
    (
        "no column with the probability of the label that was shown: each is taken as 1",
        "没有给出所展示标签的概率的列：全部按 1 计",
    ),
    # read, items, sources
    ("{file} is left out: it does not fit {first} ({error})", "{file} 未采用：与 {first} 不符（{error}）"),
    (
        "{file} is taken as the test file: it is the only one of its kind beside {first}",
        "{file} 作为测试文件：除 {first} 外，同类文件只有它",
    ),
    (
        "{file} is taken as the test file: it is the only one beside {first}",
        "{file} 作为测试文件：除 {first} 外只有它",
    ),
    ("left out of the folder {folder}: {files}", "文件夹 {folder} 中没有采用的：{files}"),
    (
        "{file} seems to name the labels 0 to {last:n}, a line each ({shown}); the labels stay numbers",
        "{file} 看起来逐行给出了标签 0 到 {last} 的名称（{shown}）；标签仍为数字",
    ),
    (
        "{file}: its column 'split' is not used: the files are already split",
        "{file}：其 'split' 列没有用到，因为各文件已经划分好",
    ),
    (
        "{file}: column 'split' is not used: its values are none of [|]train, valid (or dev, validation) and "
        "test",
        "{file}：'split' 列没有用到，因为其中的值都不是 train、valid（或 dev、validation）和 test",
    ),
    (
        "{file}: already split by its column 'split': {a:n} train[|], {b:n} valid[|], {c:n} test",
        "{file}：已按 'split' 列划分：训练 {a} 条，验证 {b} 条，测试 {c} 条",
    ),
    (
        "{file}: already split by its column 'split': {a:n} train[|], {b:n} valid",
        "{file}：已按 'split' 列划分：训练 {a} 条，验证 {b} 条",
    ),
    (
        "{file}: already split by its column 'split': {a:n} train[|], {c:n} test",
        "{file}：已按 'split' 列划分：训练 {a} 条，测试 {c} 条",
    ),
    ("{file}: already split by its column 'split': {a:n} train", "{file}：已按 'split' 列划分：训练 {a} 条"),
    # columns
    (
        "{file}: there is a column {column}; it is not used. If rows with the same value in it belong "
        "together, keep them on one side of the split with {option}",
        "{file}：有一列 {column} 没有用到。如果该列取值相同的数据属于同一组，"
        "请用 {option} 让它们划分在同一侧",
    ),
    (
        "{file}: [|]the texts[|] are taken from column[|] number {n:n}[|], judged by its content",
        "{file}：文本取自第 {n} 列（根据内容判断）",
    ),
    (
        "{file}: [|]the labels[|] are taken from column[|] number {n:n}[|], judged by its content",
        "{file}：标签取自第 {n} 列（根据内容判断）",
    ),
    (
        "{file}: [|]the texts[|] are taken from column {column}, judged by its content",
        "{file}：文本取自 {column} 列（根据内容判断）",
    ),
    (
        "{file}: [|]the labels[|] are taken from column {column}, judged by its content",
        "{file}：标签取自 {column} 列（根据内容判断）",
    ),
    ("{file}: [|]the texts[|] are taken from column {column}", "{file}：文本取自 {column} 列"),
    ("{file}: [|]the second texts[|] are taken from column {column}", "{file}：第二段文本取自 {column} 列"),
    ("{file}: [|]the labels[|] are taken from column {column}", "{file}：标签取自 {column} 列"),
    ("{file}: the answers are taken from column {column}", "{file}：回答取自 {column} 列"),
    ("{file}: {role} are taken from column {column}", "{file}：{role} 取自 {column} 列"),
    # delimited
    *(
        (
            f"{{file}}: the separator is the [|]{english}[|], in spite of the ending {{ending}}",
            f"{{file}}：分隔符是{chinese}，与扩展名 {{ending}} 不符",
        )
        for english, chinese in {
            "comma": "逗号",
            "semicolon": "分号",
            "tab": "制表符",
            "pipe": "竖线",
        }.items()
    ),
    (
        "{file}: quotes are read as ordinary characters: here they do not enclose cells",
        "{file}：引号按普通字符读取，因为这里不用引号包围单元格",
    ),
    ('{file}: quotes inside texts are written \\"', '{file}：文本中的引号写作 \\"'),
    (
        "{file}: row {row:n} has a quote inside a quoted text that is not doubled",
        "{file}：第 {row} 行带引号的文本中有一个引号没有双写",
    ),
    ("{file}: read as fastText lines", "{file}：按 fastText 格式逐行读取"),
    (
        "{file}: lines of the form COARSE:fine text; the label is the part before the colon (--label fine: "
        "all)",
        "{file}：每行形如 COARSE:fine text；以冒号前的部分为标签（--label fine：取全部）",
    ),
    # grid
    (
        "{file}: no header (the first row looks like data): columns are numbered from 1",
        "{file}：没有表头（首行看起来是数据）：各列从 1 起编号",
    ),
    (
        "{file}: {n:rows} with separators only left out ([row|rows] {rows})",
        "{file}：剔除 {n}只有分隔符的数据（第 {rows} 行）",
    ),
    (
        "{file}: {n:rows} repeating the header left out ([row|rows] {rows})",
        "{file}：剔除 {n}重复表头的数据（第 {rows} 行）",
    ),
    (
        "{file}: {n:rows} have {more:n} cells where the others have {width:n} (first: row {row:n}); what "
        "follows cell {width:n} is not read",
        "{file}：{n}数据有 {more} 个单元格，其余为 {width} 个（首见于第 {row} 行）；"
        "第 {width} 个之后的内容不读取",
    ),
    # decode, formats
    (
        "{file}: encoding is [|]Windows-1252 (Western European)[|], not UTF-8; if letters look wrong, save "
        "the file as UTF-8",
        "{file}：编码是 Windows-1252（西欧），不是 UTF-8；如果出现乱码，请把文件另存为 UTF-8",
    ),
    (
        "{file}: encoding is {codec}, not UTF-8; if letters look wrong, save the file as UTF-8",
        "{file}：编码是 {codec}，不是 UTF-8；如果出现乱码，请把文件另存为 UTF-8",
    ),
    ("{file}: encoding is UTF-16 without a byte-order mark", "{file}：编码是不带字节序标记的 UTF-16"),
    ("{file}: encoding is [|]UTF-8 with a byte-order mark", "{file}：编码是带字节序标记的 UTF-8"),
    ("{file}: encoding is {codec}", "{file}：编码是 {codec}"),
    (
        "{file}: {n:n} byte-order mark(s) inside the file (first in line {line:n}); they are taken off the "
        "ends of cells",
        "{file}：文件中间有 {n} 个字节序标记（首见于第 {line} 行）；已从单元格首尾去掉",
    ),
    (
        "{file}: holds {kind}, in spite of its ending {ending}",
        "{file}：内容是 {kind}，与扩展名 {ending} 不符",
    ),
    (
        "{file}: [|]several items share a line: rows are counted by item, from 1",
        "{file}：一行中有多条数据，因此行号按条从 1 起计",
    ),
    (
        "{file}: halves of characters (lone surrogates) were replaced by \ufffd",
        "{file}：残缺的半个字符（孤立的代理码位）已替换为 \ufffd",
    ),
    (
        "{file}: sheet {sheet} is read, not {others}; save another as a file of its own to use it",
        "{file}：读取的是工作表 {sheet}，而不是 {others}；要用其他工作表，请另存为单独的文件",
    ),
    # read_labels
    (
        "{file}: each of these columns of 0 and 1 is taken as a label: {columns}",
        "{file}：以下取值为 0 和 1 的各列分别作为一个标签：{columns}",
    ),
    ("{file}: labels are lists with {sign} between", "{file}：标签是以 {sign} 分隔的列表"),
    # conll, tags
    (
        "{file}: one word a line ([|]tabs[|] between the columns): {n:n} sentences, {words:n} words; words "
        "in column {word:n} of {width:n}, tags in column {tag:n}",
        "{file}：每行一个词（各列以制表符分隔）：{n} 个句子，{words} 个词；共 {width} 列，词在第 {word} 列，"
        "标记在第 {tag} 列",
    ),
    (
        "{file}: one word a line ([|]spaces[|] between the columns): {n:n} sentences, {words:n} words; words "
        "in column {word:n} of {width:n}, tags in column {tag:n}",
        "{file}：每行一个词（各列以空格分隔）：{n} 个句子，{words} 个词；共 {width} 列，词在第 {word} 列，"
        "标记在第 {tag} 列",
    ),
    ("{file}: row {row:n} is a header: left out", "{file}：第 {row} 行是表头，已略去"),
    ("{file}: no blank line ends a sentence: all is one", "{file}：没有空行分隔句子，全文视为一个句子"),
    _with_rows("comment lines, left out", "略去 {n} 行注释"),
    _with_rows(
        "lines that only begin a document (-DOCSTART-), left out", "略去 {n} 行文档起始标记（-DOCSTART-）"
    ),
    _with_rows("lines with the tag O and no word, left out", "略去 {n} 行只有标记 O 而没有词的内容"),
    ("{file}: the tags are in the scheme {scheme}", "{file}：标记采用 {scheme} 体系"),
    ("{file}: [|]no entity is marked anywhere: all tags are O", "{file}：没有标出任何实体，所有标记都是 O"),
    (
        "{file}: [|]no entity is marked as beginning: they are taken to begin after O or another one",
        "{file}：没有标记表示实体的开头：视为从 O 或另一个实体之后开始",
    ),
    (
        "{file}: [|]{n:n} of {all:n} sentences break the rules of {scheme}",
        "{file}：{all} 个句子中有 {n} 个不符合 {scheme} 的规则",
    ),
    (
        "{file}: [|]{n:n} tags hold several labels, each taken as one type of its own: {names:names}",
        "{file}：{n} 个标记含有多个标签，各自视为一种类型：{names}",
    ),
    (
        "{file}: [|]only I- tags: neighbouring entities of one type, if there are any, read as one",
        "{file}：只有 I- 标记：相邻的同类实体（如果有）会读成一个",
    ),
    (
        "{file}: [|]{i:n} entities begin with I-, {b:n} with B- where IOB1 has I-: taken as {scheme}",
        "{file}：{i} 个实体以 I- 开头，{b} 个以 B- 开头而 IOB1 中应为 I-：按 {scheme} 处理",
    ),
    _with_rows(
        "sentences with several tags on a word, the entities of each are kept",
        "{n} 个句子中有的词带多个标记，各标记的实体都保留",
    ),
    _with_rows("sentences with entities that overlap", "{n} 个句子中有重叠的实体"),
    # read_tags, entities
    (
        "{file}: the ends of entities are {verdict} ({why:said})",
        "{file}：实体的结束位置按 {verdict} 理解（{why}）",
    ),
    ("the texts of {n:n} of {all:n} entities are found so", "这样 {all} 个实体中有 {n} 个与原文对得上"),
    (
        "as doccano writes [start, end, type]; data.ends=inclusive if they are not",
        "doccano 的 [start, end, type] 即如此；若不是，请设 data.ends=inclusive",
    ),
    (
        "{n:n} entities end where they start, so they have one character",
        "{n} 个实体的结束位置等于开始位置，因此只有一个字符",
    ),
    ("{n:n} entities end where their text ends", "{n} 个实体结束于文本末尾"),
    (
        "{n:n} entities then end with a word, {other:n} do not",
        "这样 {n} 个实体在词尾结束，{other} 个不在词尾",
    ),
    _with_rows(
        "entities that were not at their place, moved to the nearest place with their text",
        "{n} 个实体不在所给位置，已移到最近的、文本相符的位置",
    ),
    _with_rows("entities given twice, one is kept", "{n} 个实体重复给出，只保留一个"),
    _with_rows("rows with entities that overlap", "{n} 条数据中有重叠的实体"),
    # read_questions
    ("{file}: questions: {n:n}, answers: {answers:n}", "{file}：{n} 个问题，{answers} 个答案"),
    ("{file}: rows are counted by question, from 1", "{file}：行号按问题从 1 起计"),
    (
        "{file}: no answer_start is given: answers are looked for in their context",
        "{file}：没有给出 answer_start：在上下文中查找答案",
    ),
    _with_rows(
        "answers that were not at their offset, moved to the nearest place with their text",
        "{n} 个答案不在所给偏移处，已移到最近的、文本相符的位置",
    ),
    _with_rows(
        "answers that are nowhere in their context, kept with start -1",
        "{n} 个答案不在其上下文中，以 start -1 保留",
    ),
    _with_rows(
        "answers that stand several times in their context, the first place is taken",
        "{n} 个答案在上下文中多次出现，取第一处",
    ),
    _with_rows("questions without an answer, they count as unanswerable", "{n} 个问题没有答案，视为无法回答"),
    # read_conversations, read_prompts
    (
        "{file}: {n:n} instructions have an input (column {column}): it is put on the next line",
        "{file}：{n} 条指令带有输入（{column} 列）：接在指令的下一行",
    ),
    (
        "{file}: {tasks:n} tasks with {n:n} instances: one row an instance",
        "{file}：{tasks} 个任务，共 {n} 个实例：每个实例为一条数据",
    ),
    (
        "{file}: {n:n} of {all:n} conversations have several answers",
        "{file}：{all} 个对话中有 {n} 个含多个回答",
    ),
    _with_rows(
        "conversations that go on after their last answer, the rest is left out",
        "{n} 个对话在最后一个回答之后还有内容，已略去",
    ),
    _with_rows(
        "conversations that do not alternate between user and assistant, kept as they are",
        "{n} 个对话不是 user 与 assistant 交替，原样保留",
    ),
    _with_rows("conversations with an empty message", "{n} 个对话中有空消息"),
    ("{file}: {n:n} prompts without answers", "{file}：{n} 条提示，没有回答"),
    _with_rows("prompts that do not end with the user's message", "{n} 条提示不以用户的消息结尾"),
    _with_rows(
        "prompts that do not end with the user's message, kept as they are",
        "{n} 条提示不以用户的消息结尾，原样保留",
    ),
    _with_rows(
        "rows with the same answer as chosen and as rejected", "{n} 条数据的 chosen 与 rejected 回答相同"
    ),
    # votes
    (
        "{file}: votes are read: annotators disagree on {n:n} of {all:n} pairs[|], and took the rejected "
        "answer in {lost:n}",
        "{file}：已读取投票：{all} 对回答中，标注者在 {n} 对上意见不一，并在 {lost} 对上选了 rejected 回答",
    ),
    (
        "{file}: votes are read: annotators disagree on {n:n} of {all:n} pairs",
        "{file}：已读取投票：{all} 对回答中，标注者在 {n} 对上意见不一",
    ),
    (
        "{file}: {n:n} pairs have no vote: the chosen answer counts as better",
        "{file}：{n} 对回答没有投票，视为 chosen 回答更好",
    ),
    (
        "{file}: margins are read; prefer.margin=1 puts them into the loss",
        "{file}：已读取 margin；设 prefer.margin=1 可将其计入损失",
    ),
    # read_pairs, parallel
    (
        "{file}: by their order, column {text:n} is taken as the source and {label:n} as the target; if it "
        "is the other way round: --text {label:n} --label {text:n}",
        "{file}：按列的顺序，第 {text} 列作为源文本，第 {label} 列作为目标文本；如果相反，"
        "请用 --text {label} --label {text}",
    ),
    (
        "{file}: {columns} are taken as several targets of a row",
        "{file}：{columns} 作为一条数据的多个目标文本",
    ),
    _with_rows("rows with several targets, the first is learnt", "{n} 条数据有多个目标文本，学习第一个"),
    (
        "{file}: line by line the source of {target}, {n:n} pairs",
        "{file}：逐行作为 {target} 的源文本，共 {n} 对",
    ),
    _with_rows("lines that are empty in both files, left out", "略去 {n} 行在两个文件中都为空的内容"),
    _with_rows("lines that are empty in one of the two files", "{n} 行在两个文件之一中为空"),
    # read_texts
    ("{n:n} files are one collection: {files}", "{n} 个文件合为一个语料：{files}"),
    (
        "{file}: [|]lines wrapped at {width:n} columns are joined into paragraphs[|]: {n:n} paragraphs, "
        "{characters:n} characters",
        "{file}：在 {width} 列处折行的各行合并成段：{n} 段，{characters} 个字符",
    ),
    (
        "{file}: [|]blank lines divide the paragraphs, whose lines are kept[|]: {n:n} paragraphs, "
        "{characters:n} characters",
        "{file}：以空行分段，保留段内各行：{n} 段，{characters} 个字符",
    ),
    (
        "{file}: [|]every line is a paragraph[|]: {n:n} paragraphs, {characters:n} characters",
        "{file}：每行为一段：{n} 段，{characters} 个字符",
    ),
)
