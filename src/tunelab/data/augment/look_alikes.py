"""Chinese characters that are easily taken for one another (形近字), written down by hand."""

import functools

__all__ = ["PAIRS", "alike"]

#: Two characters a pair, simplified forms; each is in use, and they differ in a stroke or a part.
_WRITTEN = (
    "己已 已巳 土士 干千 于干 于千 人入 人八 入八 大太 太犬 大犬 "
    "天夭 天夫 日曰 日目 田由 由甲 甲申 由申 田甲 术本 木术 本木 "
    "刀力 刀刃 九丸 乌鸟 鸟岛 免兔 今令 候侯 拔拨 折拆 析折 析拆 "
    "板扳 抢枪 沧抢 请情 情清 晴睛 请晴 清晴 请清 很狠 狠恨 很恨 "
    "根跟 根很 喝渴 揭渴 低抵 底低 抵底 城诚 成诚 辩辨 辨辫 瓣辩 "
    "徒徙 陡徒 戊戌 戌戍 戍戊 茶荼 博搏 膊博 傅博 薄簿 蒲薄 暮幕 "
    "幕墓 慕暮 募墓 栗粟 栗票 裁栽 载裁 载栽 戴载 蓝篮 睑脸 捡检 "
    "检险 检验 险验 剑检 俭检 场扬 扬杨 汤扬 肠场 住往 往注 住注 "
    "驻住 住柱 住佳 佳桂 桂挂 挂娃 蛙娃 崖涯 侍待 待持 侍持 持特 "
    "待特 诗侍 贷货 资贷 贫贪 育盲 孟盂 宜宣 官宫 管菅 遣遗 赢嬴 "
    "棵颗 课棵 裸棵 蜜密 哪那 问间 间闻 问闻 闷问 闭闲 闲间 晓浇 "
    "烧晓 浇烧 绕烧 挠绕 饶绕 泡抱 饱抱 炮泡 跑炮 胞饱 圆园 圆困 "
    "因囚 困囚 困因 固困 团困 玉王 主王 主玉 乓兵 乒乓 乒兵 亨享 "
    "享亭 哀衰 衰衷 哀衷 侮悔 海悔 梅海 堤提 顶项 项顷 顷倾 领预 "
    "须顺 钩钓 钓钧 钩沟 构购 构沟 狗拘 句旬 句勾 洒酒 治冶 冶洽 "
    "治洽 凉晾 谅凉 惊凉 掠惊 减咸 感憾 撼憾 蹈稻 滔稻 暖缓 援缓 "
    "援暖 爪瓜 孤狐 弧孤 狐弧 历厉 厉励 厌庆 压厌 压庄 庄床 厂广 "
    "斤斥 诉斥 近斤 巨臣 亿忆 仪议 仪蚁 代伐 仓仑 抡抢 伦沦 轮论 "
    "伦论 轮伦 优扰 忧优 忧扰 杭抗 坑抗 坑杭 航杭 炕抗 材村 寸才 "
    "财材 极级 吸级 吸极 枝技 技肢 枝肢 杆秆 汁汗 奇寄 椅倚 幻幼 "
    "处外 孔扎 扎礼 叼叨 旷扩 矿旷 矿扩 帅师 师狮 币市 毫豪 即既 "
    "刺剌 券卷 籍藉 竞竟 境镜 躁燥 澡燥 噪躁 操澡 曝爆 瀑曝 帐账 "
    "胀账 培陪 赔陪 倍陪 倍培 璧壁 臂壁 僻劈 峰锋 蜂峰 锋蜂 偏遍 "
    "编偏 骗偏 徽微 撤撒 撤澈 慢漫 谩漫 幢撞 谈淡 桃挑 挑跳 逃桃 "
    "眺跳 狼狠 狼浪 朗郎 绿缘 碌绿 线钱 浅线 钱浅 贱钱 铃玲 玲伶 "
    "粘沾 沾沽 估沽 姑估 话活 括活 桔洁 结洁 伸神 伸坤 河何 柯河 "
    "阿河 冷泠 泠玲 种钟 肿种 快块 块决 决快 抉快 常堂 堂党 尝堂 "
    "掌堂 喧宣 直真 直具 具且 且旦 担胆 石古 反友 各名 合台 史吏 "
    "吏使 便使 更便 使更 傲激 邀激 敝敞 弊蔽 撇弊 蔽敝 隔融 隙隔 "
    "示宗 综棕 踪综 踪棕 味妹 妹昧 味昧 殊株 珠株 蛛珠 诛株 牛午 "
    "午干 年午 件什 仟件 任仟 白自 自目 百白 百自 的约 均钓 均匀 "
    "勺匀 勾勺 写与 吗妈 骂吗 仍扔 乃及 及极 胀张 涨张 帐张 长张 "
)
PAIRS = tuple(_WRITTEN.split())


@functools.cache
def _table() -> dict[str, tuple[str, ...]]:
    table: dict[str, list[str]] = {}
    for pair in PAIRS:
        first, second = pair[0], pair[1]
        table.setdefault(first, []).append(second)
        table.setdefault(second, []).append(first)
    return {character: tuple(dict.fromkeys(others)) for character, others in table.items()}


def alike(character: str) -> tuple[str, ...]:
    """Characters that look like this one; none where it is not in the table.

    >>> alike("晴")
    ('睛', '请', '清')
    """
    return _table().get(character, ())
